// Scores plans by running the model: the PlanEvaluator of every real search.
#pragma once

#include <span>
#include <vector>

#include "lib/core/plan_evaluator.h"
#include "lib/runner/model_runner.h"

namespace kvtune {

class ModelEvaluator : public PlanEvaluator {
 public:
  // REQUIRES: runner and prompts outlive the evaluator.
  ModelEvaluator(ModelRunner& runner, std::span<const TokenIds> prompts);

  size_t layer_count() const override;
  size_t prompt_count() const override { return prompts_.size(); }
  std::vector<std::vector<PromptScore>> ScorePrompts(std::span<const PrecisionPlan> plans,
                                                     PromptRange range) override;

 private:
  ModelRunner& runner_;
  std::span<const TokenIds> prompts_;
  std::vector<double> exact_nll_;  // nats, of every prompt; empty until the first call
};

}  // namespace kvtune
