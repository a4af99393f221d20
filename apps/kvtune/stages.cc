#include "apps/kvtune/stages.h"

#include <fmt/format.h>

#include <algorithm>

#include "lib/base/log.h"
#include "lib/calib/calibrate.h"
#include "search/cluster.h"
#include "search/diagnose.h"
#include "search/prune.h"

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

CandidateSet ReadCandidates(const RunSession& session) {
  return CandidateSetFromJson(session.Read(Stage::kPrune),
                              session.directory().candidates().string());
}

}  // namespace

SensitivityTable ReadSensitivity(const RunSession& session) {
  return SensitivityTableFromJson(session.Read(Stage::kCalibrate),
                                  session.directory().sensitivity().string());
}

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

SensitivityTable CalibrateStep(RunSession& session, ModelSession& model,
                               const CalibrateOptionsArguments& arguments) {
  return ReuseOrMake(
      session, Stage::kCalibrate, OptionsOf(arguments), SensitivityTableFromJson, [&] {
        const CalibrateOptions options{.reduction = arguments.metric_reduction == "mean-of-ratios"
                                                        ? MetricReduction::kMeanOfRatios
                                                        : MetricReduction::kRatioOfSums,
                                       .isolated_kl = arguments.sensitivity == "kl"};
        return Calibrate(model.runner(), model.prompts().calibration, model.target().pairs,
                         options);
      });
}

Diagnosis DiagnoseStep(const RunSession& session, const SensitivityTable& table) {
  Diagnosis diagnosis = Diagnose(table);
  WriteJsonFileAtomically(session.directory().diagnosis(), ToJson(diagnosis));
  return diagnosis;
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

}  // namespace kvtune
