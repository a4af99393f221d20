// kvtune evaluate --task: what a model answers under given plans.
#pragma once

#include <vector>

#include "apps/kvtune/options.h"
#include "lib/base/error.h"
#include "lib/run/plan_line.h"

namespace kvtune {

// Throws Error (kUsage) where the options beside --task do not go with it.
void CheckTaskArguments(const EvaluateArguments& arguments);

// Evaluates the plans, or those of standard input. REQUIRES: arguments.task names a file.
ExitCode EvaluateTask(const EvaluateArguments& arguments, const std::vector<NamedPlan>& plans,
                      const Invocation& invocation);

}  // namespace kvtune
