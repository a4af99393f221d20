// Which plans a refinement round scores next: per layer, without groups and pruning.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "lib/core/pareto_front.h"
#include "lib/core/plan_shape.h"
#include "lib/core/precision_plan.h"
#include "search/pareto.h"
#include "search/surrogate.h"

namespace kvtune {

// Every plan scored so far, and the shape of those that may be. Losses are log10 nats per token.
struct ScoredSpace {
  std::span<const PrecisionPlan> plans;
  std::span<const Objectives> objectives;  // of each plan
  Objectives reference;                    // as in Hypervolume
  const PlanShape& shape;
};

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
