// Plans that look best when losses of layers are believed to add up: what tools do that measure
// layers one at a time and never score a plan jointly.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "lib/core/pareto_front.h"
#include "lib/core/plan_shape.h"
#include "lib/core/precision_plan.h"
#include "lib/core/sensitivity.h"
#include "search/genome.h"
#include "search/surrogate.h"

namespace kvtune {

// e_o of every layer and pair as a LayerLosses.
LayerLosses SensitivityLosses(const SensitivityTable& table);

// From the plan of all zero genes (most bits) down: every step changes one gene to the smaller
// choice that adds the least loss per byte saved. All plans on the way, by descending bytes.
std::vector<PrecisionPlan> GreedyPlans(const Genome& genome, const LayerLosses& losses,
                                       const CostFunction& cost);

// The additive integer program "least loss at no more than B bytes" for every B, by ascending
// bytes. Where genes are layers' pairs or their exactness: KnapsackFront, one for every pair of a
// shape that has one pair, which is exact. Runs are enumerated, keys apart from values, and joined.
std::vector<PrecisionPlan> AdditiveFront(const Genome& genome, const LayerLosses& losses,
                                         const CostFunction& cost);

// The plans of losses.pairs and this shape that no other one beats in predicted loss and bytes, by
// ascending bytes: AdditiveFront with a group for every layer.
// REQUIRES: the cost of a plan is the sum of its layers' costs; the shape has a pair of them.
std::vector<PrecisionPlan> SurrogateFront(const LayerLosses& losses, const CostFunction& cost,
                                          const PlanShape& shape = {});

// At most `count` plans of `plans`, by ascending bytes, the smallest and the largest among them and
// the others as evenly spread over bytes as they come. REQUIRES: plans by ascending bytes.
std::vector<PrecisionPlan> ThinOverBytes(std::span<const PrecisionPlan> plans,
                                         const CostFunction& cost, size_t count);

}  // namespace kvtune
