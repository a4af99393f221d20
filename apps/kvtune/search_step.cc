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

Algorithm AlgorithmOf(const std::string& name) {
  for (const Algorithm algorithm :
       {Algorithm::kMoead, Algorithm::kRandom, Algorithm::kGreedy, Algorithm::kIlp}) {
    if (AlgorithmName(algorithm) == name) return algorithm;
  }
  return Algorithm::kNsga2;
}

SearchOptions SearchOptionsOf(const SearchOptionsArguments& arguments, uint64_t seed) {
  SearchOptions options;
  options.algorithm = AlgorithmOf(arguments.algorithm);
  options.population = arguments.population;
  options.generations = arguments.generations;
  options.max_evaluations = arguments.max_evaluations;
  options.stall_generations = arguments.stall_generations;
  options.exact = arguments.exact;
  options.refinement_evaluations = arguments.no_refine ? 0 : arguments.refine_evaluations;
  if (arguments.no_racing) options.racing.reset();
  options.seed = arguments.search_seed.value_or(seed);
  // A small space is scored whole only when that costs no more than what was asked for.
  options.enumerate_up_to = std::min(
      options.enumerate_up_to, int64_t{arguments.population} * int64_t{arguments.generations});
  options.should_stop = InterruptRequested;
  if (arguments.max_seconds > 0) {
    const auto end =
        std::chrono::steady_clock::now() + std::chrono::duration<double>(arguments.max_seconds);
    options.out_of_time = [end] { return std::chrono::steady_clock::now() >= end; };
  }
  return options;
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
  SearchOptions options = SearchOptionsOf(arguments, session.run().seed);
  options.shape = model.target().shape;
  options.sensitivities = SensitivityLosses(ReadSensitivity(session));
  const auto should_stop = [&options] {
    return options.should_stop() || (options.out_of_time && options.out_of_time());
  };
  options.scout = [&] {
    return ScoutLayerLosses(session, model, arguments.known_scores, should_stop);
  };
  const LayerGroups groups =
      LayerGroupsFromJson(session.Read(Stage::kCluster), session.directory().groups().string());
  SearchResult result =
      Search(groups, model.target().pairs, scores.cache(), cost, options, ReportGeneration);
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
  Json options = {{"--algorithm", arguments.algorithm},
                  {"--population", arguments.population},
                  {"--generations", arguments.generations},
                  {"--exact", arguments.exact},
                  {"--max-evaluations", arguments.max_evaluations},
                  {"--stall-generations", arguments.stall_generations},
                  {"--no-racing", arguments.no_racing},
                  {"--search-seed", nullptr},
                  {"--known-scores", nullptr},
                  {"--refine-evaluations", arguments.no_refine ? 0 : arguments.refine_evaluations},
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
