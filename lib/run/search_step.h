// The search as a step of a run directory. Scored plans are logged batch by batch, so that a search
// which was ended early can go on where it stopped.
#pragma once

#include <functional>

#include "lib/base/json_fields.h"
#include "lib/core/pareto_front.h"
#include "lib/run/item_evaluator.h"
#include "lib/run/model_session.h"
#include "lib/run/run_options.h"
#include "lib/run/run_session.h"
#include "lib/run/search_work.h"

namespace kvtune {

// The options by flag, as run.json keeps them. --max-seconds is not among them, so that a run can
// be continued with more time.
// `task` is null but for a search by accuracy.
Json OptionsOf(const SearchStepOptions& step, const RunPrompts& prompts,
               const SplitTask* task = nullptr);

// What a run has to do, as far as is known before calibration.
SearchWork EstimatedWork(const RunSession& session, const ModelSession& model,
                         const SearchStepOptions& options);

struct SearchOutcome {
  ParetoFront front;
  bool interrupted = false;       // should_stop() ended it
  bool unfinished = false;        // should_stop() or the time limit ended it
  int64_t peak_device_bytes = 0;  // 0 on a CPU
};

// Throws Error (kUsage) for options that do not go with what the search minimizes.
void CheckSearchBy(const SearchStepOptions& options, bool has_task);

// Runs the search. By accuracy it is a search on the task's items to search on; the plans that it
// finds are then scored on the prompts too. `should_stop` is asked after every batch; true ends the
// step with what is scored so far, and those scores are kept. REQUIRES: the stages before have run.
// Throws Error.
SearchOutcome SearchStep(RunSession& session, ModelSession& model, const SearchStepOptions& step,
                         const std::function<bool()>& should_stop, const SplitTask* task = nullptr);

}  // namespace kvtune
