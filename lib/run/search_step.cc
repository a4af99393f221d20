#include "lib/run/search_step.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <utility>

#include "lib/base/file.h"
#include "lib/base/hash.h"
#include "lib/base/log.h"
#include "lib/run/held_out.h"
#include "lib/run/logged_scores.h"
#include "lib/run/stages.h"
#include "search/additive_plans.h"
#include "search/search.h"
#include "search/surrogate.h"

namespace kvtune {
namespace {

namespace fs = std::filesystem;

void ReportGeneration(const GenerationReport& report) {
  LogInfo(
      fmt::format("search: {} {}, {} plans scored ({} repeated), front of {}, "
                  "hypervolume {:.5g}",
                  report.stage == SearchStage::kRefinement ? "refinement round" : "generation",
                  report.generation, report.distinct_plans, report.repeated_plans,
                  report.front_size, report.hypervolume));
}

// As the stage runs it, with the run's seed.
SearchOptions SearchOptionsOf(const SearchStepOptions& step, uint64_t run_seed) {
  SearchOptions options = step.search;
  options.seed = step.search_seed.value_or(run_seed);
  // A small space is scored whole only when that costs no more than what was asked for.
  options.enumerate_up_to =
      std::min(options.enumerate_up_to, int64_t{options.population} * int64_t{options.generations});
  return options;
}

// Whether `seconds` from now are over; nothing for 0, which is no limit.
std::function<bool()> TimeLimit(double seconds) {
  if (seconds <= 0) return nullptr;
  const auto end = std::chrono::steady_clock::now() + std::chrono::duration<double>(seconds);
  return [end] { return std::chrono::steady_clock::now() >= end; };
}

// On a part of the prompts: the surrogate proposes plans, it does not judge them.
LayerLosses ScoutLayerLosses(const RunSession& session, ModelSession& model,
                             const fs::path& known_scores,
                             const std::function<bool()>& should_stop) {
  constexpr size_t kFewestPrompts = 4;
  const std::vector<TokenIds>& prompts = model.prompts().calibration.prompts;
  const size_t count = std::min(prompts.size(), std::max(prompts.size() / 4, kFewestPrompts));
  LoggedScores scores(session.directory().scouting(), model.model(),
                      std::span(prompts).first(count), model.cost());
  const fs::path known_scouting = RunDirectory(known_scores.parent_path()).scouting();
  if (!known_scores.empty() && fs::exists(known_scouting)) {
    AddKnownScores(scores.cache(), known_scouting, session.run(), count);
  }
  const SensitivityTable table = ReadSensitivity(session);
  LogInfo(fmt::format("search: scouting single layers on {} prompts", count));
  return MeasureLayerLosses(table, scores.cache(), should_stop);
}

// Searches on from what the log holds.
SearchResult SearchFromLog(const RunSession& session, ModelSession& model,
                           const SearchStepOptions& step,
                           const std::function<bool()>& should_stop) {
  const fs::path file = session.directory().evaluations();
  const std::vector<TokenIds>& prompts = model.prompts().calibration.prompts;
  const CostFunction cost = model.cost();
  // run.json has to say whose scores they are before the first is logged.
  LoggedScores scores(file, model.model(), prompts, cost, [&session] { session.Save(); });
  if (scores.logged() > 0) {
    LogInfo(
        fmt::format("search: {} scored plans are known from {}", scores.logged(), file.string()));
  }
  if (!step.known_scores.empty()) {
    AddKnownScores(scores.cache(), step.known_scores, session.run(), prompts.size());
  }
  const SearchOptions options = SearchOptionsOf(step, session.run().seed);
  SearchHooks hooks{.progress = ReportGeneration,
                    .should_stop = should_stop,
                    .out_of_time = TimeLimit(step.max_seconds)};
  const auto scouting_ends = [&hooks] {
    return hooks.should_stop() || (hooks.out_of_time && hooks.out_of_time());
  };
  hooks.scout = [&] { return ScoutLayerLosses(session, model, step.known_scores, scouting_ends); };
  const SearchProblem problem{.groups = LayerGroupsFromJson(session.Read(Stage::kCluster),
                                                            session.directory().groups().string()),
                              .shape = model.target().shape,
                              .uniform_pairs = model.target().pairs,
                              .cost = cost,
                              .sensitivities = SensitivityLosses(ReadSensitivity(session))};
  SearchResult result = Search(problem, scores.cache(), options, hooks);
  LogInfo("search: " + result.summary.stop_reason);
  return result;
}

std::string HashOfPrompts(const std::vector<TokenIds>& prompts) {
  PromptSet set;
  set.prompts = prompts;
  CountAndHash(set);
  return set.hash;
}

}  // namespace

Json OptionsOf(const SearchStepOptions& step, const RunPrompts& prompts) {
  const SearchOptions& search = step.search;
  Json options = {{"--algorithm", WordOf(kAlgorithmWords, search.algorithm)},
                  {"--population", search.population},
                  {"--generations", search.generations},
                  {"--exact", search.exact},
                  {"--max-evaluations", search.max_evaluations},
                  {"--stall-generations", search.stall_generations},
                  {"--no-racing", !search.racing.has_value()},
                  {"--search-seed", nullptr},
                  {"--known-scores", nullptr},
                  {"--refine-evaluations", search.refinement_evaluations},
                  {"--held-out", prompts.held_out_source},
                  {"--held-out (content)", HashOfPrompts(prompts.held_out)}};
  if (step.search_seed) options["--search-seed"] = *step.search_seed;
  if (!step.known_scores.empty()) {
    options["--known-scores"] = HashOf(ReadFile(step.known_scores));
  }
  return options;
}

SearchOutcome SearchStep(RunSession& session, ModelSession& model, const SearchStepOptions& step,
                         const std::function<bool()>& should_stop) {
  const Json options = OptionsOf(step, model.prompts());
  const fs::path file = session.directory().front();
  session.RequireSameOptions(Stage::kSearch, options);
  if (session.CanReuse(Stage::kSearch, options)) {
    LogInfo(fmt::format("search: reusing {}", file.string()));
    return {.front = ParetoFrontFromJson(session.Read(Stage::kSearch), file.string())};
  }
  session.Start(Stage::kSearch, options);
  Provenance run = session.run();
  run.noise_floor = model.MeasureNoiseFloor();
  SearchResult result = SearchFromLog(session, model, step, should_stop);
  SearchOutcome outcome{.front = {.run = std::move(run),
                                  .plans = std::move(result.front),
                                  .uniform = std::move(result.uniform),
                                  .reference = std::move(result.reference),
                                  .near = std::move(result.near),
                                  .search = std::move(result.summary)},
                        .interrupted = result.interrupted,
                        .unfinished = result.interrupted || result.out_of_time};
  AddCalibrationIntervals(outcome.front);
  if (!outcome.interrupted) {
    LoggedScores held_out(session.directory().held_out(), model.model(), model.prompts().held_out,
                          model.cost());
    if (!AddHeldOutScores(outcome.front, held_out.cache(), should_stop)) {
      outcome.interrupted = outcome.unfinished = true;
    }
  }
  model.RequireUnchanged();
  WriteJsonFileAtomically(file, ToJson(outcome.front));
  if (!outcome.unfinished) session.Finish(Stage::kSearch);
  return outcome;
}

}  // namespace kvtune
