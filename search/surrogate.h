// A guess at joint losses that costs nothing: every layer's pair has a loss of its own, and a plan
// loses their sum.
//
// Losses of layers are not really additive: errors pass through the layers above, and large ones
// saturate. But the additive model is right about which pair of a layer is worth its bytes, and its
// best plans are found exactly (a multiple-choice knapsack) among all plans, not only those that
// groups and pruning leave. It proposes; only a joint score decides.
#pragma once

#include <cstddef>
#include <functional>
#include <span>
#include <vector>

#include "lib/core/precision_plan.h"
#include "lib/core/sensitivity.h"
#include "search/evaluation_cache.h"

namespace kvtune {

struct LayerLosses {
  std::vector<PrecisionPair> pairs;
  // [layers][pairs], nats per token, > 0, lower is better.
  std::vector<std::vector<double>> losses;

  bool empty() const { return losses.empty(); }
  size_t layer_count() const { return losses.size(); }
};

// Isolated losses: the mean forward KL with one layer quantized and all others exact. Taken from
// the table where it has them (`calibrate --sensitivity kl`), else scored by `scout`, for which a
// part of the prompts is enough. Losses under 1e-9, which are rounding, become 1e-9.
// REQUIRES: scout and table are of the same model.
// `should_stop`, asked before every batch, ends it with nothing.
LayerLosses MeasureLayerLosses(const SensitivityTable& table, EvaluationCache& scout,
                               const std::function<bool()>& should_stop = nullptr);

// Sum over the layers, nats per token; an exact pair loses nothing. REQUIRES: as many layers, and
// every other pair of the plan is one of losses.pairs.
double PredictLoss(const LayerLosses& losses, const PrecisionPlan& plan);

// The losses x that explain the joint losses y of scored plans, not far from the prior x0:
//
//   minimize  sum over plans (ln predicted - ln y)^2  +  lambda * sum over x (ln x - ln x0)^2.
//
// Logarithms, so that a factor of two counts alike at 1e-5 and at 0.1, and no loss turns negative.
// Solved by coordinate descent: Gauss-Newton steps, halved until the sum falls. Plans without a
// loss (the exact one) say nothing and are left out. Same arguments, same result.
// REQUIRES: as PredictLoss for every plan; as many losses as plans.
LayerLosses FitLayerLosses(const LayerLosses& prior, std::span<const PrecisionPlan> plans,
                           std::span<const double> losses);

// With the exact pair among the pairs, losing nothing: for shapes whose plans mix exact layers with
// others.
LayerLosses WithExactPair(LayerLosses losses);

}  // namespace kvtune
