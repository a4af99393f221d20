// What proposing plans shares, over groups (search/grouped_proposals.h) and without them
// (search/refinement.h): what is scored, what a plan is expected to be, and whose turn it is.
#pragma once

#include <cstddef>
#include <functional>
#include <optional>
#include <span>
#include <vector>

#include "lib/core/pareto_front.h"
#include "lib/core/plan_shape.h"
#include "lib/core/precision_plan.h"
#include "search/pareto.h"
#include "search/surrogate.h"

namespace kvtune {

// Every plan scored so far, and the shape of those that may be. Losses are decades (LogLoss).
struct ScoredSpace {
  std::span<const PrecisionPlan> plans;
  std::span<const Objectives> objectives;  // of each plan
  Objectives reference;                    // as in Hypervolume
  const PlanShape& shape;
};

// More sizes of the surrogate's front than a batch could tell apart only take time.
inline constexpr size_t kProposedSizes = 256;

// A plan that may be scored next.
struct Proposal {
  PrecisionPlan plan;
  Objectives predicted;
};

// What the surrogate says of a plan. REQUIRES: as PredictLoss.
Objectives PredictObjectives(const LayerLosses& losses, const CostFunction& cost,
                             const PrecisionPlan& plan);

// The points that no other one dominates, by ascending bytes.
std::vector<Objectives> FrontOf(std::span<const Objectives> points);

// Removes and returns the proposal of the largest value by its predicted objectives, the first one
// of equals; nullopt when none is above `least`.
std::optional<Proposal> TakeBest(std::vector<Proposal>& proposals, double least,
                                 const std::function<double(const Objectives&)>& value_of);

}  // namespace kvtune
