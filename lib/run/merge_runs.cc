#include "lib/run/merge_runs.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <unordered_map>
#include <unordered_set>
#include <utility>

#include "lib/base/error.h"
#include "lib/base/file.h"
#include "lib/core/artifacts.h"
#include "lib/core/objective.h"
#include "lib/run/evaluation_log.h"
#include "lib/run/plan_source.h"
#include "lib/run/run_session.h"
#include "search/pareto.h"

namespace kvtune {
namespace {

namespace fs = std::filesystem;

// What the search records of its options.
Json SearchOptionsOf(const fs::path& run) {
  const Json json = ReadArtifact(RunDirectory(run).run(), Artifact::kRun);
  return json.value(Json::json_pointer("/stages/search/options"), Json::object());
}

// The hash of the held-out prompts; empty where the search records none.
std::string HeldOutHash(const Json& options) {
  const Json hash = options.value("--held-out (content)", Json());
  return hash.is_string() ? hash.get<std::string>() : "";
}

void RequireComparable(const ParetoFront& first, const ParetoFront& other, const fs::path& run,
                       bool same_held_out) {
  std::vector<std::string> differences = ScoreDifferences(other.run, first.run);
  if (other.run.context != first.run.context) {
    differences.push_back(fmt::format("--context: found {} there, expected {}", other.run.context,
                                      first.run.context));
  }
  if (other.latency != first.latency) {
    differences.emplace_back("--objective-latency: found other times there, or none");
  }
  // The exact plan of one model gives the same answers to the same items.
  if (other.reference.accuracy != first.reference.accuracy)
    differences.emplace_back(
        "--task: found answers to other items there, or none, expected those of the first run");
  if (!same_held_out) differences.emplace_back("--held-out: found other prompts there");
  if (differences.empty()) return;
  throw Error(fmt::format("merging {}: {}", run.string(), fmt::join(differences, "; ")));
}

// A front of answers is one by the items that were searched on, and merging goes by losses.
void RequireSearchByLosses(const ParetoFront& front, const fs::path& run) {
  if (!front.is_by_answers()) return;
  throw Error(
      fmt::format("merging {}: found a search by answers, expected one by losses", run.string()));
}

// A search that was interrupted has no held-out scores yet, although it has held-out prompts.
void RequireHeldOutScores(const ParetoFront& front, const Json& options, const fs::path& run) {
  // A merged run does not record whence its prompts were; it has the scores that its runs had.
  if (front.reference.held_out || options.value("--held-out", Json("none")) == "none") return;
  throw Error(
      fmt::format("merging {}: found no held-out scores, expected a search that has ended; "
                  "its command goes on",
                  run.string()));
}

// Plans that no other one dominates, by descending bytes, with names in that order.
std::vector<ScoredPlan> FrontOf(std::vector<ScoredPlan> plans) {
  std::vector<Objectives> objectives;
  for (const ScoredPlan& plan : plans)
    objectives.push_back(ObjectivesFor(LossOf(plan, ScoreSet::kCalibration), plan.cost));
  std::vector<size_t> members = NonDominated(objectives);
  std::reverse(members.begin(), members.end());
  std::vector<ScoredPlan> front;
  for (size_t i = 0; i < members.size(); ++i) {
    front.push_back(std::move(plans[members[i]]));
    front.back().name = fmt::format("p{:02}", i);
  }
  return front;
}

// Every plan of the logs once, with complete scores, as one batch.
void MergeLogs(std::span<const fs::path> logs, const fs::path& out, size_t layer_count) {
  std::vector<PrecisionPlan> plans;
  std::vector<PlanScore> scores;
  std::unordered_map<PrecisionPlan, PlanCost, PrecisionPlanHash> costs;
  for (const fs::path& log : logs) {
    for (LoggedEvaluation& logged : ReadEvaluationLog(log, layer_count).evaluations) {
      if (!logged.score.complete() || !costs.emplace(logged.plan, logged.cost).second) continue;
      plans.push_back(std::move(logged.plan));
      scores.push_back(std::move(logged.score));
    }
  }
  EvaluationLog(out, layer_count).Append(plans, scores, [&](const PrecisionPlan& plan) {
    return costs.at(plan);
  });
}

void CopyIfThere(const fs::path& from, const fs::path& to) {
  std::error_code ignored;
  if (fs::exists(from, ignored)) WriteFileAtomically(to, ReadFile(from));
}

}  // namespace

ParetoFront MergeRuns(std::span<const fs::path> runs, const fs::path& out,
                      std::vector<std::string> command_line) {
  ParetoFront merged = ReadFront(runs.front());
  RequireSearchByLosses(merged, runs.front());
  const Json first_options = SearchOptionsOf(runs.front());
  RequireHeldOutScores(merged, first_options, runs.front());
  const std::string held_out = HeldOutHash(first_options);
  std::vector<ScoredPlan> plans = merged.plans;
  std::unordered_set<PrecisionPlan, PrecisionPlanHash> known;
  for (const ScoredPlan& plan : plans) known.insert(plan.plan);
  for (const fs::path& run : runs.subspan(1)) {
    ParetoFront front = ReadFront(run);
    RequireSearchByLosses(front, run);
    const Json options = SearchOptionsOf(run);
    RequireHeldOutScores(front, options, run);
    RequireComparable(merged, front, run, HeldOutHash(options) == held_out);
    for (ScoredPlan& plan : front.plans) {
      if (known.insert(plan.plan).second) plans.push_back(std::move(plan));
    }
  }
  merged.plans = FrontOf(std::move(plans));
  merged.search = std::nullopt;

  RequireCreatableDirectory(out);
  RequireOwnDirectory(out, runs);
  if (fs::exists(RunDirectory(out).run())) {
    throw Error(fmt::format("merging into {}: found a run there, expected a folder without one",
                            out.string()));
  }
  RunSession session(out, merged.run, std::move(command_line));
  Json names = Json::array();
  for (const fs::path& run : runs) names.push_back(run.string());
  session.Start(Stage::kSearch, {{"merged", std::move(names)}, {"--held-out (content)", held_out}});
  session.Save();
  const auto layers = static_cast<size_t>(merged.run.layer_count());
  std::vector<fs::path> evaluations, held_out_logs;
  for (const fs::path& run : runs) {
    evaluations.push_back(RunDirectory(run).evaluations());
    held_out_logs.push_back(RunDirectory(run).held_out());
  }
  MergeLogs(evaluations, session.directory().evaluations(), layers);
  MergeLogs(held_out_logs, session.directory().held_out(), layers);
  const RunDirectory first(runs.front());
  CopyIfThere(first.sensitivity(), session.directory().sensitivity());
  CopyIfThere(first.diagnosis(), session.directory().diagnosis());
  WriteJsonFileAtomically(session.directory().front(), ToJson(merged));
  session.Finish(Stage::kSearch);
  return merged;
}

}  // namespace kvtune
