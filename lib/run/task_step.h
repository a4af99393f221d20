// The last step of a search with a task: what its plans do on the items of the task.
#pragma once

#include <functional>

#include "lib/core/pareto_front.h"
#include "lib/run/item_evaluator.h"
#include "lib/run/model_session.h"
#include "lib/run/run_session.h"

namespace kvtune {

// Fills `accuracy` of all plans of a front (the front, the uniform plans, those near it and the
// exact one) by the items to test on, and `search_accuracy` by those of the search, if it had any,
// and writes the front. Every answer is kept in the run directory, so that the same
// command generates none of them again. `should_stop` is asked after each answer; when it says
// true, the front stays as it was and false is returned. Throws Error, also where an item of the
// task is among the prompts that the plans were chosen or checked on.
bool TaskStep(const RunSession& session, ModelSession& model, const SplitTask& split,
              ParetoFront& front, const std::function<bool()>& should_stop);

}  // namespace kvtune
