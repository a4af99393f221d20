// Scores plans by running the model. Every real search uses this PlanEvaluator.
#pragma once

#include <span>
#include <vector>

#include "lib/core/measured_model.h"
#include "lib/core/plan_evaluator.h"

namespace kvtune {

class ModelEvaluator : public PlanEvaluator {
 public:
  // REQUIRES: model and prompts outlive the evaluator.
  ModelEvaluator(MeasuredModel& model, std::span<const TokenIds> prompts)
      : model_(model), prompts_(prompts) {}

  size_t layer_count() const override { return model_.layer_count(); }
  size_t prompt_count() const override { return prompts_.size(); }
  std::vector<std::vector<PromptScore>> ScorePrompts(std::span<const PrecisionPlan> plans,
                                                     PromptRange range) override;

 private:
  MeasuredModel& model_;
  std::span<const TokenIds> prompts_;
  bool knows_exact_ = false;
};

}  // namespace kvtune
