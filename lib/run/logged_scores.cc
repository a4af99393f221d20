#include "lib/run/logged_scores.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <utility>

#include "lib/base/error.h"
#include "lib/base/log.h"
#include "lib/core/artifacts.h"

namespace kvtune {

LoggedScores::LoggedScores(const std::filesystem::path& log, MeasuredModel& model,
                           std::span<const TokenIds> prompts, CostFunction cost,
                           std::function<void()> before_append)
    : log_(log, model.layer_count()),
      evaluator_(model, prompts),
      cost_(std::move(cost)),
      before_append_(std::move(before_append)),
      cache_(evaluator_, [this](auto plans, auto scores) {
        if (auto prepare = std::exchange(before_append_, nullptr)) prepare();
        log_.Append(plans, scores, cost_);
      }) {
  for (const LoggedEvaluation& known : log_.evaluations()) cache_.Insert(known.plan, known.score);
}

void AddKnownScores(EvaluationCache& cache, const std::filesystem::path& file,
                    const Provenance& wanted, size_t prompts) {
  if (!std::filesystem::exists(file)) {
    throw Error(
        fmt::format("reading the known scores {}: found no such file, expected the "
                    "evaluations.jsonl of a run",
                    file.string()));
  }
  const std::filesystem::path run = RunDirectory(file.parent_path()).run();
  const Json json = ReadArtifact(run, Artifact::kRun);
  JsonFields fields = OpenArtifact(json, run.string());
  const std::vector<std::string> differences =
      ScoreDifferences(ProvenanceFromJson(fields.Object("run")), wanted);
  if (!differences.empty()) {
    throw Error(fmt::format("reading the known scores {}: {}", file.string(),
                            fmt::join(differences, "; ")));
  }
  int64_t count = 0;
  for (LoggedEvaluation& known : ReadEvaluationLog(file, cache.layer_count()).evaluations) {
    if (known.score.prompts != static_cast<int64_t>(prompts)) continue;
    cache.InsertForeign(known.plan, std::move(known.score));
    ++count;
  }
  LogInfo(fmt::format("known scores: {} plans from {}", count, file.string()));
}

}  // namespace kvtune
