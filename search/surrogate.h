// The surrogate predicts a plan's joint loss without running the model: every pair in every layer
// has a loss of its own, and a plan loses their sum.
//
// Losses of layers are not really additive: errors pass through the layers above, and large ones
// saturate. But the additive model is right about which pair of a layer is worth its bytes, and its
// best plans can be found exactly (a multiple-choice knapsack) among all plans, not only among
// those that groups and pruning leave. The surrogate only proposes plans; their joint scores
// decide.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "lib/core/precision_plan.h"

namespace kvtune {

// In nats per token. Smaller losses are float32 rounding.
inline constexpr double kSmallestLayerLoss = 1e-9;

struct LayerLosses {
  std::vector<PrecisionPair> pairs;
  // [layers][pairs], nats per token, > 0, lower is better.
  std::vector<std::vector<double>> losses;

  bool empty() const { return losses.empty(); }
  size_t layer_count() const { return losses.size(); }
};

// The sum of the losses over the layers, in nats per token; an exact pair loses nothing. REQUIRES:
// plan and losses have as many layers, and every pair of the plan that is not exact is one of
// losses.pairs.
double PredictLoss(const LayerLosses& losses, const PrecisionPlan& plan);

// Fits layer losses x that explain the joint losses y of scored plans and stay near the prior x0:
//
//   minimize  sum over plans (ln predicted - ln y)^2  +  lambda * sum over x (ln x - ln x0)^2.
//
// Logarithms make a factor of two count the same at 1e-5 and at 0.1, and no loss can turn negative.
// The sum is minimized by coordinate descent with Gauss-Newton steps, each halved until the sum
// falls. Plans without a loss (the exact one) say nothing about x and are left out. The same
// arguments give the same result. REQUIRES: what PredictLoss requires, for every plan; as many
// losses as plans.
LayerLosses FitLayerLosses(const LayerLosses& prior, std::span<const PrecisionPlan> plans,
                           std::span<const double> losses);

// Adds the exact pair, which loses nothing, to the pairs. Shapes whose plans mix exact layers with
// others need it.
LayerLosses WithExactPair(LayerLosses losses);

}  // namespace kvtune
