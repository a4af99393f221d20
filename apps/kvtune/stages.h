// The stages as steps of a run directory: each reads its file when it is there and was made with
// the same options, else makes and writes it. Commands of one stage and the whole chain run the
// same steps, so they leave the same files.
#pragma once

#include "apps/kvtune/model_session.h"
#include "apps/kvtune/options.h"
#include "apps/kvtune/run_session.h"
#include "lib/core/candidates.h"
#include "lib/core/diagnosis.h"
#include "lib/core/layer_groups.h"
#include "lib/core/pareto_front.h"
#include "lib/core/sensitivity.h"

namespace kvtune {

// sensitivity.json of the run.
SensitivityTable ReadSensitivity(const RunSession& session);

// The options of a stage by flag, as run.json keeps them.
Json OptionsOf(const CalibrateOptionsArguments& arguments);
Json OptionsOf(const PruneOptionsArguments& arguments);
Json OptionsOf(const ClusterOptionsArguments& arguments);
Json OptionsOf(const SearchOptionsArguments& arguments, const RunPrompts& prompts);

SensitivityTable CalibrateStep(RunSession& session, ModelSession& model,
                               const CalibrateOptionsArguments& arguments);
// Names the fragile layers and writes them beside the table.
Diagnosis DiagnoseStep(const RunSession& session, const SensitivityTable& table);
CandidateSet PruneStep(RunSession& session, const PruneOptionsArguments& arguments);
LayerGroups ClusterStep(RunSession& session, const ClusterOptionsArguments& arguments);

struct SearchOutcome {
  ParetoFront front;
  bool interrupted = false;  // by the user
  bool unfinished = false;   // by the user or --max-seconds
};

// Scored plans go to a log batch by batch; an unfinished search goes on where it was
// (search_step.cc).
SearchOutcome SearchStep(RunSession& session, ModelSession& model,
                         const SearchOptionsArguments& arguments);

}  // namespace kvtune
