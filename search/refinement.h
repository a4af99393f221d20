// Which plans a round of the refinement scores next. The refinement varies single layers, without
// groups and pruning.
#pragma once

#include <cstddef>
#include <vector>

#include "lib/core/pareto_front.h"
#include "lib/core/precision_plan.h"
#include "search/proposals.h"
#include "search/surrogate.h"

namespace kvtune {

// At most `count` plans of the shape that were not scored yet, by descending promised gain in
// hypervolume over the scored plans and the proposals before them. A plan in a wide gap of the
// front promises most. Proposals come by turns from
//  - the surrogate's exact front (SurrogateFront), which may lie far from every scored plan, and
//  - moves around the scored front: another pair in one layer, or one layer a step up and another a
//    step down. A moved plan is predicted to lose what its parent scored, times the ratio of what
//    the surrogate says of both, so that an error which it makes in both alike cancels.
// Returns fewer plans when no others promise a gain. The same arguments give the same plans.
// REQUIRES: what PredictLoss requires, for every scored plan, and what SurrogateFront requires.
std::vector<PrecisionPlan> ProposePlans(const LayerLosses& losses, const CostFunction& cost,
                                        const ScoredSpace& scored, size_t count);

}  // namespace kvtune
