// Scores a front again on held-out prompts, which the search never saw.
#pragma once

#include <functional>

#include "lib/core/pareto_front.h"
#include "search/evaluation_cache.h"

namespace kvtune {

// Fills `calibration_interval` of all plans whose score has its single prompts, where an interval
// can be claimed (lib/base/ratio_interval.h).
void AddCalibrationIntervals(ParetoFront& front);

// Fills `held_out` of all plans, uniform plans, plans near the front and the reference, with an
// interval of the same kind. Does nothing when there are no held-out prompts. `should_stop` is
// asked between batches; when it says true, nothing is filled and false is returned, but the cache
// keeps the scores of the finished batches.
bool AddHeldOutScores(ParetoFront& front, EvaluationCache& evaluator,
                      const std::function<bool()>& should_stop);

}  // namespace kvtune
