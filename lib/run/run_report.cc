#include "lib/run/run_report.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "lib/base/error.h"
#include "lib/base/printable.h"
#include "lib/core/artifacts.h"
#include "lib/core/layer_shape.h"
#include "lib/io/checkpoint.h"
#include "lib/run/evaluation_log.h"
#include "lib/run/plan_budget.h"
#include "lib/run/run_session.h"
#include "lib/targets/target.h"
#include "search/diagnose.h"

namespace kvtune {
namespace {

namespace fs = std::filesystem;

// What a format writes is shown where it is no longer than this; a plan file of JSON has a line or
// more for every layer.
constexpr size_t kLongestContent = 1500;

std::string CommandText(const std::vector<std::string>& words) {
  std::vector<std::string> quoted;
  for (const std::string& word : words) quoted.push_back(ShellWord(word));
  return fmt::format("{}", fmt::join(quoted, " "));
}

// "--epsilon 0, --no-cluster": flags that are off or not given are left out.
std::string OptionsText(const Json& options) {
  std::vector<std::string> texts;
  for (const auto& [flag, value] : options.items()) {
    if (value.is_null()) continue;
    if (value.is_boolean()) {
      if (value.get<bool>()) texts.push_back(flag);
    } else {
      texts.push_back(
          fmt::format("{} {}", flag, value.is_string() ? value.get<std::string>() : value.dump()));
    }
  }
  return fmt::format("{}", fmt::join(texts, ", "));
}

struct RecordedStage {
  StageRecord shown;
  std::vector<std::string> command;
};

// The stages that run.json has, in their order.
std::vector<RecordedStage> ReadStages(JsonFields stages) {
  std::vector<RecordedStage> records;
  for (const Stage stage : kStages) {
    if (!stages.Has(StageName(stage))) continue;
    JsonFields fields = stages.Object(StageName(stage));
    RecordedStage record;
    record.shown.name = StageName(stage);
    record.shown.finished = fields.Bool("finished");
    record.shown.options = OptionsText(fields.Value("options"));
    record.shown.started = fields.String("started");
    if (record.shown.finished) record.shown.seconds = fields.Number("seconds");
    record.command = fields.Strings("command");
    record.shown.command = CommandText(record.command);
    records.push_back(std::move(record));
  }
  return records;
}

// The command that goes on with the whole chain from a run that a stage of it was started in:
// `kvtune search` with the inputs of that stage's own command.
std::string SearchCommand(const std::vector<RecordedStage>& stages, const fs::path& run) {
  for (const RecordedStage& stage : stages) {
    std::vector<std::string> words = stage.command;
    if (words.size() < 2 || (words[1] != "search" && words[1] != "calibrate")) continue;
    words[1] = "search";
    return CommandText(words);
  }
  return fmt::format("kvtune search --model MODEL --out {}", ShellWord(run.string()));
}

// Reads the artifact that `path` holds; nullopt when there is none.
template <typename Artifact>
std::optional<Artifact> ReadIfThere(const fs::path& path, const Provenance& run,
                                    Artifact (*from_json)(const Json&, const std::string&)) {
  std::error_code ignored;
  if (!fs::exists(path, ignored)) return std::nullopt;
  Artifact artifact = from_json(ReadJsonFile(path), path.string());
  const std::vector<std::string> differences = Differences(artifact.run, run);
  if (!differences.empty()) {
    throw Error(fmt::format("reading {}: it is not of this run: {}", path.string(),
                            fmt::join(differences, "; ")));
  }
  return artifact;
}

std::vector<PlanExport> ExportsOf(const ScoredPlan& plan, const ParetoFront& front,
                                  const Target& target, const fs::path& run) {
  std::vector<PlanExport> exports;
  for (const ExportSummary& format : target.exports) {
    PlanExport exported;
    exported.format = format.name;
    exported.description = format.description;
    exported.command = fmt::format("kvtune pareto export {} --plan {} --format {}",
                                   ShellWord(run.string()), ShellWord(plan.name), format.name);
    if (const std::optional<Misfit> misfit = FindMisfit(plan.plan, target, format.name)) {
      exported.why_not = misfit->reason;
      exported.nearest = PlanSpec(misfit->nearest);
      exported.command += " --project";
    } else {
      exported.content = ExportPlan(plan, front, format.name);
      if (exported.content.size() > kLongestContent) exported.content.clear();
    }
    exports.push_back(std::move(exported));
  }
  return exports;
}

// The scored plans that are on no list of the front. Those that racing stopped have no loss over
// all prompts, so they are left out.
std::vector<ScoredPlan> OtherPlans(const LogContent& log, const ParetoFront& front) {
  std::vector<ScoredPlan> others;
  const auto is_in = [](const std::vector<ScoredPlan>& plans, const PrecisionPlan& plan) {
    return std::ranges::find(plans, plan, &ScoredPlan::plan) != plans.end();
  };
  for (const LoggedEvaluation& evaluation : log.evaluations) {
    if (!evaluation.score.complete() || evaluation.plan.is_exact()) continue;
    if (is_in(front.plans, evaluation.plan) || is_in(front.uniform, evaluation.plan)) continue;
    ScoredPlan& plan = others.emplace_back();
    plan.plan = evaluation.plan;
    plan.cost = evaluation.cost;
    plan.calibration = evaluation.score;
  }
  return others;
}

// Of the files that are there now, which may be others than those of the run.
std::optional<uint64_t> WeightBytes(const fs::path& model) {
  try {
    return Checkpoint(model).weight_bytes();
  } catch (const Error&) {
    return std::nullopt;
  }
}

void AddMissingParts(RunReport& report, const std::vector<RecordedStage>& stages,
                     const fs::path& run) {
  const auto add = [&](std::string what, std::string command) {
    report.missing.push_back({std::move(what), std::move(command)});
  };
  const std::string place = ShellWord(run.string());
  if (!report.sensitivity)
    add("The layers have not been measured yet.", SearchCommand(stages, run));
  if (report.sensitivity && !report.candidates)
    add("No pairs have been pruned yet.", fmt::format("kvtune prune {}", place));
  if (report.candidates && !report.groups)
    add("The layers have not been grouped yet.", fmt::format("kvtune cluster {}", place));
  const bool searched = std::ranges::any_of(stages, [](const RecordedStage& stage) {
    return stage.shown.name == StageName(Stage::kSearch) && stage.shown.finished;
  });
  if (!report.front) {
    if (report.sensitivity)
      add("No plans have been searched yet, so there is no front.", SearchCommand(stages, run));
    return;
  }
  if (!searched) {
    add(report.front->reference.held_out
            ? "The search has not ended: this is its front so far."
            : "The search has not ended: this is its front so far, on the prompts that it searched "
              "on.",
        SearchCommand(stages, run));
  } else if (!report.front->reference.held_out) {
    add("The run has no held-out prompts, so all losses are those of the prompts that the plans "
        "were chosen by, and look better than they are.",
        "");
  }
}

}  // namespace

RunReport ReadRunReport(const fs::path& run) {
  const RunDirectory directory(run);
  const Json json = ReadArtifact(directory.run(), Artifact::kRun);
  JsonFields fields = OpenArtifact(json, directory.run().string());
  RunReport report;
  report.run = ProvenanceFromJson(fields.Object("run"));
  report.title = ModelName(report.run.model);
  report.path = run.string();
  report.weight_bytes = WeightBytes(report.run.model);
  const std::vector<RecordedStage> stages = ReadStages(fields.Object("stages"));
  for (const RecordedStage& stage : stages) report.stages.push_back(stage.shown);
  report.sensitivity = ReadIfThere(directory.sensitivity(), report.run, SensitivityTableFromJson);
  if (report.sensitivity) report.diagnosis = Diagnose(*report.sensitivity);
  report.candidates = ReadIfThere(directory.candidates(), report.run, CandidateSetFromJson);
  report.groups = ReadIfThere(directory.groups(), report.run, LayerGroupsFromJson);
  report.front = ReadIfThere(directory.front(), report.run, ParetoFrontFromJson);
  AddMissingParts(report, stages, run);
  if (!report.front) return report;

  const auto layer_count = static_cast<size_t>(report.run.layer_count());
  const LogContent log = ReadEvaluationLog(directory.evaluations(), layer_count);
  report.scored_plans = static_cast<int64_t>(log.evaluations.size());
  report.others = OtherPlans(log, *report.front);
  const Target target = TargetFor(FindTarget(report.run.target), report.run.layers);
  report.cache_bytes = [target, model = ModelOfLayers(report.run.layers)](const PrecisionPlan& plan,
                                                                          int64_t tokens) {
    return CostOf(target, plan, model, tokens).bytes_per_token * static_cast<double>(tokens);
  };
  report.exports = [target, run, front = *report.front](const ScoredPlan& plan) {
    return ExportsOf(plan, front, target, run);
  };
  return report;
}

}  // namespace kvtune
