// What the two ways to propose plans share, over groups (search/grouped_proposals.h) and without
// them (search/refinement.h): the plans that are scored, the objectives that a plan is expected to
// have, and the choice of the best proposal.
#pragma once

#include <cstddef>
#include <functional>
#include <limits>
#include <optional>
#include <span>
#include <vector>

#include "lib/core/pareto_front.h"
#include "lib/core/plan_shape.h"
#include "lib/core/precision_plan.h"
#include "search/pareto.h"
#include "search/surrogate.h"

namespace kvtune {

// Every plan scored so far, and the shape of the plans that may be scored. Losses are in decades
// (LogLoss).
struct ScoredSpace {
  std::span<const PrecisionPlan> plans;
  std::span<const Objectives> objectives;  // the objectives of each plan
  Objectives reference;                    // the reference point of Hypervolume
  const PlanShape& shape;
};

// How many plans of the surrogate's front are considered. More would only take time, since a batch
// is too small to make use of the finer steps in size.
inline constexpr size_t kProposedSizes = 256;

// A plan that may be scored next.
struct Proposal {
  PrecisionPlan plan;
  Objectives predicted;
  // What TakeLargestGain found last; it can only have shrunk since.
  double largest_gain = std::numeric_limits<double>::infinity();
};

// The objectives that the surrogate predicts for a plan. REQUIRES: what PredictLoss requires.
Objectives PredictObjectives(const LayerLosses& losses, const CostFunction& cost,
                             const PrecisionPlan& plan);

// The points that no other one dominates, by ascending bytes.
std::vector<Objectives> FrontOf(std::span<const Objectives> points);

// Removes and returns the proposal whose predicted objectives have the largest value, the first one
// among equals. Returns nullopt when no value is above `least`.
std::optional<Proposal> TakeBest(std::vector<Proposal>& proposals, double least,
                                 const std::function<double(const Objectives&)>& value_of);

// The same for a gain in hypervolume above 0. Gains only shrink as the front grows from call to
// call, so that most proposals are not looked at again; of three objectives a gain takes long to
// compute.
std::optional<Proposal> TakeLargestGain(std::vector<Proposal>& proposals,
                                        const std::function<double(const Objectives&)>& gain_of);

}  // namespace kvtune
