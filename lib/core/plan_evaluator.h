// The one interface between search and model: plans in, scores out.
#pragma once

#include <cstddef>
#include <span>
#include <utility>
#include <vector>

#include "lib/core/plan_score.h"
#include "lib/core/precision_plan.h"

namespace kvtune {

// Prompts [begin, end) of an evaluator, whose prompts come in an order that was drawn once.
struct PromptRange {
  size_t begin = 0;
  size_t end = 0;
};

// Takes a whole population because the cheap way to score plans is many at once: weights are read
// once a layer, and plans with a common prefix of layers share its work.
// Implementations: calib's model evaluator and the tests' fake.
class PlanEvaluator {
 public:
  virtual ~PlanEvaluator() = default;

  virtual size_t layer_count() const = 0;
  virtual size_t prompt_count() const = 0;

  // [plan][prompt of the range]. What a plan scores on a prompt does not depend on which others it
  // came with, up to floating-point rounding; the exact plan scores a KL of 0.
  // REQUIRES: every plan has layer_count() layers; the range lies within prompt_count(). Throws
  // Error.
  virtual std::vector<std::vector<PromptScore>> ScorePrompts(std::span<const PrecisionPlan> plans,
                                                             PromptRange range) = 0;

  // One score per plan over all prompts, in order.
  std::vector<PlanScore> Evaluate(std::span<const PrecisionPlan> plans) {
    std::vector<PlanScore> scores;
    if (plans.empty()) return scores;
    for (std::vector<PromptScore>& prompts : ScorePrompts(plans, {0, prompt_count()})) {
      scores.push_back(Summarize(std::move(prompts)));
    }
    return scores;
  }
};

}  // namespace kvtune
