// Plans that look best under the assumption that the losses of single layers add up. This is what
// tools do that measure layers one at a time and never score a whole plan.
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

// The sensitivity table's attention output error e_o of every layer and pair, taken as the layer's
// loss.
LayerLosses SensitivityLosses(const SensitivityTable& table);

// Starts from the plan whose genes are all zero (most bits) and goes down: every step changes one
// gene to the smaller choice that adds the least loss per byte saved. Returns all plans on the way,
// by descending bytes.
std::vector<PrecisionPlan> GreedyPlans(const Genome& genome, const LayerLosses& losses,
                                       const CostFunction& cost);

// Solves the additive integer program "least loss at no more than B bytes" for every B, and returns
// its plans by ascending bytes. Where genes choose the pairs of layers, or which layers stay exact,
// KnapsackFront solves it exactly; a shape with one pair for all layers gets one knapsack for each
// of its pairs. For the shape kRuns the runs of keys and those of values are enumerated separately
// and then joined.
//
// Where plans have a time, the program is solved for bytes, for time and for three mixtures of
// both, each a sum over layers too. The result is what no other of these plans dominates, a part of
// the front of three objectives: its plans that are best for some mixture.
std::vector<PrecisionPlan> AdditiveFront(const Genome& genome, const LayerLosses& losses,
                                         const CostFunction& cost);

// The plans made of losses.pairs in this shape that no other one beats in both predicted loss and
// bytes, by ascending bytes. This is AdditiveFront with a group of its own for every layer.
// REQUIRES: bytes and time of a plan are the sums of its layers'; the shape has at least one of
// losses.pairs.
std::vector<PrecisionPlan> SurrogateFront(const LayerLosses& losses, const CostFunction& cost,
                                          const PlanShape& shape = {});

// At most `count` of `plans`, by ascending bytes: always the smallest and the largest one, and
// between them those that are spread most evenly over bytes. REQUIRES: plans by ascending bytes.
std::vector<PrecisionPlan> ThinOverBytes(std::span<const PrecisionPlan> plans,
                                         const CostFunction& cost, size_t count);

}  // namespace kvtune
