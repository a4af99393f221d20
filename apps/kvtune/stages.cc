#include "apps/kvtune/stages.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "apps/kvtune/held_out.h"
#include "apps/kvtune/interrupt.h"
#include "lib/base/log.h"
#include "lib/calib/calibrate.h"
#include "lib/calib/model_evaluator.h"
#include "search/cluster.h"
#include "search/evaluation_cache.h"
#include "search/evaluation_log.h"
#include "search/prune.h"
#include "search/search.h"
#include "search/surrogate.h"

namespace kvtune {
namespace {

// Reads the stage's artifact when it can be reused, else makes it and writes it.
template <typename Artifact>
Artifact ReuseOrMake(RunSession& session, Stage stage, const Json& options,
                     Artifact (*from_json)(const Json&, const std::string&), auto make) {
  const std::filesystem::path file = session.FileOf(stage);
  if (session.CanReuse(stage, options)) {
    LogInfo(fmt::format("{}: reusing {}", StageName(stage), file.string()));
    return from_json(session.Read(stage), file.string());
  }
  session.Start(stage, options);
  Artifact artifact = make();
  artifact.run = session.run();
  WriteJsonFileAtomically(file, ToJson(artifact));
  session.Finish(stage);
  return artifact;
}

SensitivityTable ReadSensitivity(const RunSession& session) {
  return SensitivityTableFromJson(session.Read(Stage::kCalibrate),
                                  session.directory().sensitivity().string());
}

CandidateSet ReadCandidates(const RunSession& session) {
  return CandidateSetFromJson(session.Read(Stage::kPrune),
                              session.directory().candidates().string());
}

LayerGroups ReadGroups(const RunSession& session) {
  return LayerGroupsFromJson(session.Read(Stage::kCluster), session.directory().groups().string());
}

void ReportGeneration(const GenerationReport& report) {
  LogInfo(fmt::format("search: {} {}, {} plans scored ({} repeated), front of {}, "
                      "hypervolume {:.5g}",
                      report.stage == SearchStage::kRefinement ? "refinement round" : "generation",
                      report.generation, report.distinct_plans, report.repeated_plans,
                      report.front_size, report.hypervolume));
}

SearchOptions SearchOptionsOf(const SearchOptionsArguments& arguments, uint64_t seed) {
  SearchOptions options;
  options.population = arguments.population;
  options.generations = arguments.generations;
  options.max_evaluations = arguments.max_evaluations;
  options.refinement_evaluations = arguments.no_refine ? 0 : arguments.refine_evaluations;
  options.seed = seed;
  // A small space is scored whole only when that costs no more than what was asked for.
  options.enumerate_up_to = std::min(
      options.enumerate_up_to, int64_t{arguments.population} * int64_t{arguments.generations});
  options.should_stop = InterruptRequested;
  return options;
}

// On a part of the prompts: the surrogate proposes plans, it does not judge them. The same on every
// call, so it is measured again when a search is resumed.
LayerLosses ScoutLayerLosses(const RunSession& session, ModelSession& model) {
  constexpr size_t kFewestPrompts = 4;
  const std::vector<TokenIds>& prompts = model.prompts().calibration.prompts;
  const size_t count = std::min(prompts.size(), std::max(prompts.size() / 4, kFewestPrompts));
  LogInfo(fmt::format("search: scouting single layers on {} prompts", count));
  ModelEvaluator scout(model.runner(), std::span(prompts).first(count));
  return MeasureLayerLosses(ReadSensitivity(session), scout);
}

// Searches on from what the log holds.
SearchResult SearchFromLog(const RunSession& session, ModelSession& model,
                       const SearchOptionsArguments& arguments) {
  const CostFunction cost = model.cost();
  EvaluationLog log(session.directory().evaluations(), model.layer_count());
  if (!log.evaluations().empty()) {
    LogInfo(fmt::format("search: {} scored plans are known from {}", log.evaluations().size(),
                        session.directory().evaluations().string()));
  }
  ModelEvaluator scorer(model.runner(), model.prompts().calibration.prompts);
  bool unsaved = true;  // run.json has to say whose scores they are before the first is logged
  EvaluationCache cache(scorer, [&](auto plans, auto scores) {
    if (std::exchange(unsaved, false)) session.Save();
    log.Append(plans, scores, cost);
  });
  for (const LoggedEvaluation& known : log.evaluations()) cache.Insert(known.plan, known.score);
  SearchOptions options = SearchOptionsOf(arguments, session.run().seed);
  options.layer_losses = ScoutLayerLosses(session, model);
  SearchResult result = Search(ReadGroups(session), model.target().pairs, cache, cost, options,
                               ReportGeneration);
  LogInfo("search: " + result.stop_reason);
  return result;
}

}  // namespace

Json OptionsOf(const CalibrateOptionsArguments& arguments) {
  return {{"--sensitivity", arguments.sensitivity},
          {"--metric-reduction", arguments.metric_reduction}};
}

Json OptionsOf(const PruneOptionsArguments& arguments) {
  return {{"--sensitivity", arguments.sensitivity},
          {"--bits", arguments.bits},
          {"--epsilon", arguments.epsilon},
          {"--min-pairs", arguments.min_pairs}};
}

Json OptionsOf(const ClusterOptionsArguments& arguments) {
  return {{"--max-groups", arguments.max_groups}, {"--no-cluster", arguments.no_cluster}};
}

Json OptionsOf(const SearchOptionsArguments& arguments, const RunPrompts& prompts) {
  return {{"--population", arguments.population},
          {"--generations", arguments.generations},
          {"--max-evaluations", arguments.max_evaluations},
          {"--refine-evaluations", arguments.no_refine ? 0 : arguments.refine_evaluations},
          {"--held-out", prompts.held_out_source}};
}

SensitivityTable CalibrateStep(RunSession& session, ModelSession& model,
                               const CalibrateOptionsArguments& arguments) {
  return ReuseOrMake(
      session, Stage::kCalibrate, OptionsOf(arguments), SensitivityTableFromJson, [&] {
        const CalibrateOptions options{
            .reduction = arguments.metric_reduction == "mean-of-ratios"
                             ? MetricReduction::kMeanOfRatios
                             : MetricReduction::kRatioOfSums,
            .isolated_kl = arguments.sensitivity == "kl"};
        return Calibrate(model.runner(), model.prompts().calibration, model.target().pairs,
                         options);
      });
}

CandidateSet PruneStep(RunSession& session, const PruneOptionsArguments& arguments) {
  return ReuseOrMake(session, Stage::kPrune, OptionsOf(arguments), CandidateSetFromJson, [&] {
    const PruneOptions options{
        .metric = arguments.sensitivity == "kl" ? PruneMetric::kIsolatedKl
                                                : PruneMetric::kAttentionOutput,
        .bits = arguments.bits == "nominal" ? BitCount::kNominal : BitCount::kEffective,
        .epsilon = arguments.epsilon,
        .min_pairs = arguments.min_pairs};
    return Prune(ReadSensitivity(session), options);
  });
}

LayerGroups ClusterStep(RunSession& session, const ClusterOptionsArguments& arguments) {
  return ReuseOrMake(session, Stage::kCluster, OptionsOf(arguments), LayerGroupsFromJson, [&] {
    ClusterOptions options;
    options.no_cluster = arguments.no_cluster;
    options.max_groups = arguments.max_groups;
    return Cluster(ReadCandidates(session), ReadSensitivity(session), options);
  });
}

SearchOutcome SearchStep(RunSession& session, ModelSession& model,
                         const SearchOptionsArguments& arguments) {
  const Json options = OptionsOf(arguments, model.prompts());
  const std::filesystem::path file = session.directory().front();
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
                                  .reference = std::move(result.reference)},
                        .interrupted = result.interrupted};
  if (!outcome.interrupted) {
    AddHeldOutScores(outcome.front, model.runner(), model.prompts().held_out);
  }
  WriteJsonFileAtomically(file, ToJson(outcome.front));
  if (!outcome.interrupted) session.Finish(Stage::kSearch);
  return outcome;
}

}  // namespace kvtune
