// Which plans a refinement round scores next: per layer, without groups and pruning.
#pragma once

#include <cstddef>
#include <vector>

#include "lib/core/pareto_front.h"
#include "lib/core/precision_plan.h"
#include "search/proposals.h"
#include "search/surrogate.h"

namespace kvtune {

// At most `count` plans of the shape that were not scored, those first that promise the largest
// gain in hypervolume over the scored plans and the proposals before them; a wide gap in the front
// promises most. Proposals come by turns from
//  - the surrogate's exact front (SurrogateFront), which may lie far from every scored plan, and
//  - moves around the scored front: another pair in one layer, or one layer a step up and another a
//    step down. A moved plan is predicted to lose what its parent scored, times the ratio of what
//    the surrogate says of both, so that an error which it makes in both alike cancels.
// Fewer when nothing else promises a gain. Same arguments, same plans.
// REQUIRES: as PredictLoss for every scored plan, and as SurrogateFront.
std::vector<PrecisionPlan> ProposePlans(const LayerLosses& losses, const CostFunction& cost,
                                        const ScoredSpace& scored, size_t count);

}  // namespace kvtune
