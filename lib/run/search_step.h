// The search as a step of a run directory. Scored plans go to a log batch by batch, so that an
// unfinished search goes on where it was.
#pragma once

#include <functional>

#include "lib/base/json_fields.h"
#include "lib/core/pareto_front.h"
#include "lib/run/model_session.h"
#include "lib/run/run_options.h"
#include "lib/run/run_session.h"

namespace kvtune {

// By flag, as run.json keeps them. --max-seconds is not among them: a run may be given more time.
Json OptionsOf(const SearchStepOptions& options, const RunPrompts& prompts);

struct SearchOutcome {
  ParetoFront front;
  bool interrupted = false;  // should_stop() ended it
  bool unfinished = false;   // should_stop() or the time limit ended it
};

// `should_stop` is asked after every batch: true ends the step with what is scored so far, which is
// kept. REQUIRES: the stages before have run. Throws Error.
SearchOutcome SearchStep(RunSession& session, ModelSession& model, const SearchStepOptions& options,
                         const std::function<bool()>& should_stop);

}  // namespace kvtune
