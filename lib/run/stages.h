// The stages as steps of a run directory. Each step reads its file when that exists and was made
// with the same options; otherwise it makes the file. The commands for one stage and the command
// for the whole chain run the same steps, so they leave the same files.
#pragma once

#include <filesystem>
#include <optional>

#include "lib/calib/calibrate.h"
#include "lib/core/candidates.h"
#include "lib/core/diagnosis.h"
#include "lib/core/layer_groups.h"
#include "lib/core/sensitivity.h"
#include "lib/run/model_session.h"
#include "lib/run/run_session.h"
#include "search/cluster.h"
#include "search/prune.h"

namespace kvtune {

// Reads sensitivity.json of the run.
SensitivityTable ReadSensitivity(const RunSession& session);

// The options of a stage by flag, as run.json keeps them.
Json OptionsOf(const CalibrateOptions& options);
Json OptionsOf(const PruneOptions& options);
Json OptionsOf(const ClusterOptions& options);

SensitivityTable CalibrateStep(RunSession& session, ModelSession& model,
                               const CalibrateOptions& options);
// Finds the fragile layers and writes them to a file beside the table.
Diagnosis DiagnoseStep(const RunSession& session, const SensitivityTable& table);
// The diagnosis of a run directory that need not be opened; nullopt where it has no
// sensitivity.json.
std::optional<Diagnosis> DiagnosisOf(const std::filesystem::path& run);
CandidateSet PruneStep(RunSession& session, const PruneOptions& options);
LayerGroups ClusterStep(RunSession& session, const ClusterOptions& options);

}  // namespace kvtune
