// Scoring a front again on prompts that the search never saw.
#pragma once

#include <functional>

#include "lib/core/pareto_front.h"
#include "search/evaluation_cache.h"

namespace kvtune {

// Fills `calibration_interval` of all plans whose score knows its prompts: a bootstrap interval
// over prompts that depends on the run's seed only.
void AddCalibrationIntervals(ParetoFront& front);

// Fills `held_out` of all plans, uniform plans and the reference, with an interval of the same
// kind. Does nothing without prompts. False, and nothing filled, when `should_stop` ended it: it is
// asked between batches, whose scores the cache keeps.
bool AddHeldOutScores(ParetoFront& front, EvaluationCache& evaluator,
                      const std::function<bool()>& should_stop);

}  // namespace kvtune
