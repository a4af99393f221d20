#include "lib/run/held_out.h"

#include <fmt/format.h>

#include <algorithm>
#include <span>
#include <vector>

#include "lib/base/log.h"
#include "lib/base/ratio_interval.h"
#include "lib/core/objective.h"

namespace kvtune {
namespace {

// The losses and tokens of a score's prompts.
struct ByPrompt {
  explicit ByPrompt(const PlanScore& score) {
    for (const PromptScore& prompt : score.per_prompt) {
      losses.push_back(std::max(0.0, LossOf(prompt)));
      tokens.push_back(static_cast<double>(prompt.tokens));
    }
  }
  std::vector<double> losses;
  std::vector<double> tokens;
};

}  // namespace

void AddCalibrationIntervals(ParetoFront& front) {
  for (ScoredPlan* plan : AllPlans(front)) {
    if (plan->calibration.per_prompt.empty()) continue;
    const ByPrompt prompts(plan->calibration);
    plan->calibration_interval = RatioInterval(prompts.losses, prompts.tokens);
  }
}

bool AddHeldOutScores(ParetoFront& front, EvaluationCache& evaluator,
                      const std::function<bool()>& should_stop) {
  if (evaluator.prompt_count() == 0) return true;
  const std::vector<ScoredPlan*> scored = AllPlans(front);
  LogInfo(
      fmt::format("held out: scoring {} plans on {} prompts ({} of the front, {} uniform, {} near "
                  "the front)",
                  scored.size(), evaluator.prompt_count(), front.plans.size(), front.uniform.size(),
                  front.near.size()));
  std::vector<PrecisionPlan> plans;
  for (const ScoredPlan* plan : scored) plans.push_back(plan->plan);
  constexpr size_t kBatch = 16;
  for (size_t begin = 0; begin < plans.size(); begin += kBatch) {
    if (should_stop()) return false;
    evaluator.Evaluate(std::span(plans).subspan(begin, std::min(kBatch, plans.size() - begin)));
  }
  for (ScoredPlan* plan : scored) {
    const PlanScore& score = evaluator.ScoreOf(plan->plan);
    const ByPrompt prompts(score);
    plan->held_out = HeldOutScore{score, RatioInterval(prompts.losses, prompts.tokens),
                                  DrawsForInterval(prompts.losses, prompts.tokens)};
  }
  return true;
}

}  // namespace kvtune
