// A PlanEvaluator without a model: it computes losses by a formula and records its calls.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "lib/core/layer_groups.h"
#include "lib/core/pareto_front.h"
#include "lib/core/plan_evaluator.h"

namespace kvtune {

// The error of one layer's pair, from its nominal bits. Every bit makes it 4 times smaller, and
// keys count twice as much as values, which is about how quantizers of real models behave.
inline double FakePairError(PrecisionPair pair) {
  const auto error = [](KvFormatId id) {
    return FormatOf(id).is_exact() ? 0.0 : std::pow(0.25, FormatOf(id).bits);
  };
  return 2 * error(pair.key) + error(pair.value);
}

// The loss is the sum over layers of weight * error, plus `interaction` times the product of the
// errors of each two neighbouring layers. Without interaction the best plan of a size solves a
// knapsack problem; with it, layers have to be judged together.
struct FakeLosses {
  std::vector<double> layer_weights;
  double interaction = 0;

  double Of(const PrecisionPlan& plan) const {
    double loss = 0, previous = 0;
    for (size_t i = 0; i < plan.layers.size(); ++i) {
      const double error = layer_weights[i] * FakePairError(plan.layers[i]);
      loss += error + interaction * error * previous;
      previous = error;
    }
    return loss;
  }
};

// A loss of its own on every prompt, which is a number here: prompts differ by a factor of four,
// and each likes some plans a tenth more than others.
inline double FakeLossOnPrompt(double loss, double prompt) {
  return loss * std::pow(2.0, std::sin(prompt)) * (1 + 0.1 * std::sin(1e4 * loss + prompt));
}

// The score of a plan that loses `kl` nats per token. Two values stand for the losses of all
// tokens.
inline PromptScore FakePromptScore(double kl, int64_t tokens) {
  PromptScore prompt;
  prompt.tokens = tokens;
  prompt.kl_sum = kl * static_cast<double>(tokens);
  prompt.exact_nll_sum = 1.5 * static_cast<double>(tokens);
  prompt.nll_sum = prompt.exact_nll_sum + prompt.kl_sum / 3;
  // A loss that is not a number has no whole number of matches.
  const double matches = static_cast<double>(tokens) / (1 + kl);
  prompt.top1_matches = std::isfinite(matches) ? static_cast<int64_t>(matches) : 0;
  prompt.token_kl = {static_cast<float>(kl / 2), static_cast<float>(3 * kl / 2)};
  return prompt;
}

class FakeEvaluator : public PlanEvaluator {
 public:
  explicit FakeEvaluator(std::vector<double> layer_weights, double interaction = 0,
                         size_t prompt_count = 4)
      : losses_{std::move(layer_weights), interaction}, prompt_count_(prompt_count) {}

  size_t layer_count() const override { return losses_.layer_weights.size(); }
  size_t prompt_count() const override { return prompt_count_; }

  std::vector<std::vector<PromptScore>> ScorePrompts(std::span<const PrecisionPlan> plans,
                                                     PromptRange range) override {
    if (range.begin == 0) batches_.emplace_back(plans.begin(), plans.end());
    prompt_scores_ += plans.size() * (range.end - range.begin);
    std::vector<std::vector<PromptScore>> scores;
    for (const PrecisionPlan& plan : plans) {
      const std::vector<PromptScore> all = PromptsOf(plan);
      scores.emplace_back(all.begin() + static_cast<ptrdiff_t>(range.begin),
                          all.begin() + static_cast<ptrdiff_t>(range.end));
    }
    return scores;
  }

  PlanScore ScoreOf(const PrecisionPlan& plan) const { return Summarize(PromptsOf(plan)); }

  // The plans of every call that began with the first prompt, in the order of the calls.
  const std::vector<std::vector<PrecisionPlan>>& batches() const { return batches_; }
  // The number of plans times prompts, summed over all calls.
  size_t prompt_scores() const { return prompt_scores_; }

 private:
  // Up to four prompts are all alike.
  std::vector<PromptScore> PromptsOf(const PrecisionPlan& plan) const {
    constexpr int64_t kTokens = 250;
    const double loss = losses_.Of(plan);
    std::vector<PromptScore> prompts;
    for (size_t i = 0; i < prompt_count_; ++i) {
      const double kl = prompt_count_ > 4 ? FakeLossOnPrompt(loss, static_cast<double>(i)) : loss;
      prompts.push_back(FakePromptScore(kl, kTokens));
    }
    return prompts;
  }

  FakeLosses losses_;
  size_t prompt_count_;
  size_t prompt_scores_ = 0;
  std::vector<std::vector<PrecisionPlan>> batches_;
};

// A group for each layer.
inline LayerGroups OneLayerGroups(size_t count, const std::vector<PrecisionPair>& candidates) {
  LayerGroups groups;
  for (size_t i = 0; i < count; ++i) groups.groups.push_back({{i}, candidates});
  return groups;
}

// The cost where every layer has one KV head of 64 channels and scales take no bytes.
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
