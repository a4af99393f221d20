// The search stage of a run directory: what its options mean, and what is on disk while it runs.
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <utility>

#include "apps/kvtune/held_out.h"
#include "apps/kvtune/interrupt.h"
#include "apps/kvtune/logged_scores.h"
#include "apps/kvtune/stages.h"
#include "lib/base/file.h"
#include "lib/base/hash.h"
#include "lib/base/log.h"
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

SearchOptions SearchOptionsOf(const SearchOptionsArguments& arguments, uint64_t seed) {
  SearchOptions options = arguments.options;
  if (arguments.no_refine) options.refinement_evaluations = 0;
  if (arguments.no_racing) options.racing.reset();
  options.seed = arguments.search_seed.value_or(seed);
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
  LoggedScores scores(session.directory().scouting(), model.runner(),
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
                           const SearchOptionsArguments& arguments) {
  const fs::path file = session.directory().evaluations();
  const std::vector<TokenIds>& prompts = model.prompts().calibration.prompts;
  const CostFunction cost = model.cost();
  // run.json has to say whose scores they are before the first is logged.
  LoggedScores scores(file, model.runner(), prompts, cost, [&session] { session.Save(); });
  if (scores.logged() > 0) {
    LogInfo(
        fmt::format("search: {} scored plans are known from {}", scores.logged(), file.string()));
  }
  if (!arguments.known_scores.empty()) {
    AddKnownScores(scores.cache(), arguments.known_scores, session.run(), prompts.size());
  }
  const SearchOptions options = SearchOptionsOf(arguments, session.run().seed);
  SearchHooks hooks{.progress = ReportGeneration,
                    .should_stop = InterruptRequested,
                    .out_of_time = TimeLimit(arguments.max_seconds)};
  const auto should_stop = [&hooks] {
    return hooks.should_stop() || (hooks.out_of_time && hooks.out_of_time());
  };
  hooks.scout = [&] {
    return ScoutLayerLosses(session, model, arguments.known_scores, should_stop);
  };
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

// --max-seconds is not among them: a run may be given more time.
Json OptionsOf(const SearchOptionsArguments& arguments, const RunPrompts& prompts) {
  const SearchOptions& search = arguments.options;
  Json options = {{"--algorithm", WordOf(kAlgorithmWords, search.algorithm)},
                  {"--population", search.population},
                  {"--generations", search.generations},
                  {"--exact", search.exact},
                  {"--max-evaluations", search.max_evaluations},
                  {"--stall-generations", search.stall_generations},
                  {"--no-racing", arguments.no_racing},
                  {"--search-seed", nullptr},
                  {"--known-scores", nullptr},
                  {"--refine-evaluations", arguments.no_refine ? 0 : search.refinement_evaluations},
                  {"--held-out", prompts.held_out_source},
                  {"--held-out (content)", HashOfPrompts(prompts.held_out)}};
  if (arguments.search_seed) options["--search-seed"] = *arguments.search_seed;
  if (!arguments.known_scores.empty()) {
    options["--known-scores"] = HashOf(ReadFile(arguments.known_scores));
  }
  return options;
}

SearchOutcome SearchStep(RunSession& session, ModelSession& model,
                         const SearchOptionsArguments& arguments) {
  const Json options = OptionsOf(arguments, model.prompts());
  const fs::path file = session.directory().front();
  session.RequireSameOptions(Stage::kSearch, options);
  if (session.CanReuse(Stage::kSearch, options)) {
    LogInfo(fmt::format("search: reusing {}", file.string()));
    return {.front = ParetoFrontFromJson(session.Read(Stage::kSearch), file.string())};
  }
  session.Start(Stage::kSearch, options);
  const InterruptDelay delay;
  Provenance run = session.run();
  run.noise_floor = model.MeasureNoiseFloor();
  SearchResult result = SearchFromLog(session, model, arguments);
  SearchOutcome outcome{.front = {.run = std::move(run),
                                  .plans = std::move(result.front),
                                  .uniform = std::move(result.uniform),
                                  .reference = std::move(result.reference),
                                  .search = std::move(result.summary)},
                        .interrupted = result.interrupted,
                        .unfinished = result.interrupted || result.out_of_time};
  AddCalibrationIntervals(outcome.front);
  if (!outcome.interrupted) {
    LoggedScores held_out(session.directory().held_out(), model.runner(), model.prompts().held_out,
                          model.cost());
    if (!AddHeldOutScores(outcome.front, held_out.cache(), InterruptRequested)) {
      outcome.interrupted = outcome.unfinished = true;
    }
  }
  WriteJsonFileAtomically(file, ToJson(outcome.front));
  if (!outcome.unfinished) session.Finish(Stage::kSearch);
  return outcome;
}

}  // namespace kvtune
