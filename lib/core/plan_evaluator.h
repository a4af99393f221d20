// The interface between the search and the model: plans go in, scores come out.
#pragma once

#include <cstddef>
#include <span>
#include <utility>
#include <vector>

#include "lib/core/plan_score.h"
#include "lib/core/precision_plan.h"

namespace kvtune {

// The prompts [begin, end) of an evaluator. Their order was drawn at random once, so any range is a
// random sample.
struct PromptRange {
  size_t begin = 0;
  size_t end = 0;
};

// Scores plans. It takes a whole population at a time, because scoring many plans together is
// cheap: the weights of each layer are read once, and plans that agree on their first layers share
// that work. ModelEvaluator (lib/calib) implements it, and so does a fake in the tests.
class PlanEvaluator {
 public:
  virtual ~PlanEvaluator() = default;

  virtual size_t layer_count() const = 0;
  virtual size_t prompt_count() const = 0;

  // Returns [plan][prompt of the range]. The score of a plan on a prompt does not depend on the
  // other plans and prompts of the call, up to floating-point rounding; the exact plan has a KL of
  // 0. REQUIRES: every plan has layer_count() layers, and the range lies within prompt_count().
  // Throws Error.
  virtual std::vector<std::vector<PromptScore>> ScorePrompts(std::span<const PrecisionPlan> plans,
                                                             PromptRange range) = 0;

  // Returns one score for each plan, over all prompts, in the order of the plans.
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
