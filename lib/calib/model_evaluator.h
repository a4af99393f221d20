// Scores plans by running the model: the PlanEvaluator of every real search.
#pragma once

#include <optional>
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
  std::vector<PlanScore> Evaluate(std::span<const PrecisionPlan> plans) override;

 private:
  ModelRunner& runner_;
  std::span<const TokenIds> prompts_;
  std::optional<double> exact_nll_;  // nats per token, once known
};

}  // namespace kvtune
