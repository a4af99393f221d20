// A PlanEvaluator without a model: losses from a formula, calls on record.
#pragma once

#include <cmath>
#include <cstddef>
#include <span>
#include <vector>

#include "lib/core/pareto_front.h"
#include "lib/core/plan_evaluator.h"

namespace kvtune {

// What one layer's pair disturbs, by its nominal bits: about 4 times less a bit, keys twice as much
// as values, as quantizers of real models behave.
inline double FakePairError(PrecisionPair pair) {
  const auto error = [](KvFormatId id) {
    return FormatOf(id).is_exact() ? 0.0 : std::pow(0.25, FormatOf(id).bits);
  };
  return 2 * error(pair.key) + error(pair.value);
}

// Loss = sum over layers of weight * error, plus `interaction` * error of a layer * error of the
// next: with 0 the best plan for a size is a knapsack, otherwise layers have to be judged together.
class FakeEvaluator : public PlanEvaluator {
 public:
  explicit FakeEvaluator(std::vector<double> layer_weights, double interaction = 0)
      : layer_weights_(std::move(layer_weights)), interaction_(interaction) {}

  size_t layer_count() const override { return layer_weights_.size(); }

  std::vector<PlanScore> Evaluate(std::span<const PrecisionPlan> plans) override {
    batches_.emplace_back(plans.begin(), plans.end());
    std::vector<PlanScore> scores;
    for (const PrecisionPlan& plan : plans) scores.push_back(ScoreOf(plan));
    return scores;
  }

  PlanScore ScoreOf(const PrecisionPlan& plan) const {
    double loss = 0, previous = 0;
    for (size_t i = 0; i < plan.layers.size(); ++i) {
      const double error = layer_weights_[i] * FakePairError(plan.layers[i]);
      loss += error + interaction_ * error * previous;
      previous = error;
    }
    PlanScore score;
    score.prompts = 4;
    score.tokens = 1000;
    score.kl_mean = loss;
    score.kl_p99 = 10 * loss;
    score.kl_p999 = 50 * loss;
    score.top1_agreement = 1 / (1 + loss);
    score.nll = 1.5 + loss / 3;
    score.delta_nll = loss / 3;
    return score;
  }

  // The plans of every call, in order.
  const std::vector<std::vector<PrecisionPlan>>& batches() const { return batches_; }

 private:
  std::vector<double> layer_weights_;
  double interaction_;
  std::vector<std::vector<PrecisionPlan>> batches_;
};

// Layers of one head of 64 channels: bytes are both sides' bits / 8 times 64, scales left out.
inline PlanCost FakeCost(const PrecisionPlan& plan) {
  PlanCost cost;
  for (const PrecisionPair pair : plan.layers) {
    cost.nominal_bits += (FormatOf(pair.key).bits + FormatOf(pair.value).bits) / 2.0;
  }
  cost.bytes_per_token = cost.nominal_bits * 2 * 64 / 8;
  cost.nominal_bits /= static_cast<double>(plan.layers.size());
  cost.effective_bits = cost.nominal_bits;
  return cost;
}

}  // namespace kvtune
