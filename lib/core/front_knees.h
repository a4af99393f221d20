// Where a front bends: the plans from which on a byte saved costs more loss than before.
//
// Both axes are scaled to the extent of the plans that are looked at, bytes as they are and losses
// by their logarithm, as on the plot and on the page of the report. Losses below the noise floor
// count as the floor, because rounding alone makes them.
#pragma once

#include <span>
#include <vector>

#include "lib/core/objective.h"
#include "lib/core/pareto_front.h"

namespace kvtune {

// The plans of the front that no other one of them beats in calibration loss and bytes, whatever
// time they take, in their order: all of them where plans have no time.
std::vector<const ScoredPlan*> FrontInBytes(const ParetoFront& front);

// The plan that lies deepest below the straight line between the largest and the smallest of
// `plans`; nullptr when none lies below it. The order of `plans` does not matter.
const ScoredPlan* Knee(std::span<const ScoredPlan* const> plans, ScoreSet scores,
                       double noise_floor);

// The inner corners of the lower convex hull of `plans`, those with the sharpest bend first.
std::vector<const ScoredPlan*> Knees(std::span<const ScoredPlan* const> plans, ScoreSet scores,
                                     double noise_floor);

}  // namespace kvtune
