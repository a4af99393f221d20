#include "lib/run/stages.h"

#include <fmt/format.h>

#include <algorithm>

#include "lib/base/log.h"
#include "lib/run/search_latency.h"
#include "search/diagnose.h"

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
  // First, or else a process that ends in between leaves a file that run.json says was made
  // otherwise.
  session.Save();
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

Json OptionsOf(const CalibrateOptions& options) {
  return {{"--sensitivity", WordOf(kScreeningErrorWords, options.screening)},
          {"--metric-reduction", WordOf(kMetricReductionWords, options.reduction)}};
}

Json OptionsOf(const PruneOptions& options) {
  Json json = {{"--sensitivity", WordOf(kScreeningErrorWords, options.metric)},
               {"--bits", WordOf(kBitCountWords, options.bits)},
               {"--epsilon", options.epsilon},
               {"--min-pairs", options.min_pairs}};
  if (options.latency) AddLatencyOptions(json, *options.latency);
  return json;
}

Json OptionsOf(const ClusterOptions& options) {
  return {{"--max-groups", options.max_groups}, {"--no-cluster", options.no_cluster}};
}

SensitivityTable CalibrateStep(RunSession& session, ModelSession& model,
                               const CalibrateOptions& options) {
  return ReuseOrMake(session, Stage::kCalibrate, OptionsOf(options), SensitivityTableFromJson, [&] {
    SensitivityTable table =
        Calibrate(model.model(), model.prompts().calibration, model.target().pairs, options);
    model.RequireUnchanged();
    return table;
  });
}

Diagnosis DiagnoseStep(const RunSession& session, const SensitivityTable& table) {
  Diagnosis diagnosis = Diagnose(table);
  WriteJsonFileAtomically(session.directory().diagnosis(), ToJson(diagnosis));
  return diagnosis;
}

std::optional<Diagnosis> DiagnosisOf(const std::filesystem::path& run) {
  const std::filesystem::path file = RunDirectory(run).sensitivity();
  std::error_code ignored;
  if (!std::filesystem::exists(file, ignored)) return std::nullopt;
  return Diagnose(
      SensitivityTableFromJson(ReadArtifact(file, Artifact::kSensitivity), file.string()));
}

CandidateSet PruneStep(RunSession& session, const PruneOptions& options) {
  return ReuseOrMake(session, Stage::kPrune, OptionsOf(options), CandidateSetFromJson,
                     [&] { return Prune(ReadSensitivity(session), options); });
}

LayerGroups ClusterStep(RunSession& session, const ClusterOptions& options) {
  return ReuseOrMake(session, Stage::kCluster, OptionsOf(options), LayerGroupsFromJson, [&] {
    return Cluster(ReadCandidates(session), ReadSensitivity(session), options);
  });
}

}  // namespace kvtune
