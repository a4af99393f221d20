// Scoring a front again on prompts that the search never saw.
#pragma once

#include <span>

#include "lib/core/pareto_front.h"
#include "lib/runner/model_runner.h"

namespace kvtune {

// Fills `held_out` of all plans, uniform plans and the reference, with a bootstrap interval over
// prompts that depends on the run's seed only. Does nothing without prompts.
void AddHeldOutScores(ParetoFront& front, ModelRunner& runner, std::span<const TokenIds> prompts);

}  // namespace kvtune
