// The search as a step of a run directory. Scored plans are logged batch by batch, so that a search
// which was ended early can go on where it stopped.
#pragma once

#include <functional>

#include "lib/base/json_fields.h"
#include "lib/core/pareto_front.h"
#include "lib/run/model_session.h"
#include "lib/run/run_options.h"
#include "lib/run/run_session.h"
#include "lib/run/search_work.h"

namespace kvtune {

// The options by flag, as run.json keeps them. --max-seconds is not among them, so that a run can
// be continued with more time.
Json OptionsOf(const SearchStepOptions& options, const RunPrompts& prompts);

// What a run has to do, as far as is known before calibration.
SearchWork EstimatedWork(const RunSession& session, const ModelSession& model,
                         const SearchStepOptions& options);

struct SearchOutcome {
  ParetoFront front;
  bool interrupted = false;  // should_stop() ended it
  bool unfinished = false;   // should_stop() or the time limit ended it
};

// Runs the search. `should_stop` is asked after every batch; true ends the step with what is scored
// so far, and those scores are kept. REQUIRES: the stages before have run. Throws Error.
SearchOutcome SearchStep(RunSession& session, ModelSession& model, const SearchStepOptions& options,
                         const std::function<bool()>& should_stop);

}  // namespace kvtune
