// The one interface between search and model: plans in, scores out.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "lib/core/plan_score.h"
#include "lib/core/precision_plan.h"

namespace kvtune {

// Takes a whole population because the cheap way to score plans is many at once: weights are read
// once a layer, and plans with a common prefix of layers share its work.
// Implementations: calib's model evaluator, search's cache around another one, the tests' fake.
class PlanEvaluator {
 public:
  virtual ~PlanEvaluator() = default;

  virtual size_t layer_count() const = 0;

  // One score per plan, in order. A plan's score does not depend on which others it came with, up
  // to floating-point rounding; the exact plan scores a KL of 0.
  // REQUIRES: every plan has layer_count() layers. Throws Error.
  virtual std::vector<PlanScore> Evaluate(std::span<const PrecisionPlan> plans) = 0;
};

}  // namespace kvtune
