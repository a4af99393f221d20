#include "lib/run/held_out.h"

#include <fmt/format.h>

#include <algorithm>
#include <span>
#include <vector>

#include "lib/base/log.h"
#include "lib/base/random.h"
#include "lib/base/statistics.h"
#include "lib/core/objective.h"

namespace kvtune {
namespace {

Interval IntervalOf(const PlanScore& score, uint64_t seed) {
  std::vector<double> losses;
  std::vector<double> tokens;
  for (const PromptScore& prompt : score.per_prompt) {
    losses.push_back(LossOf(prompt));
    tokens.push_back(static_cast<double>(prompt.tokens));
  }
  BootstrapOptions options;
  options.seed = DeriveSeed(seed, SeedPurpose::kBootstrap);
  return BootstrapRatioInterval(losses, tokens, options);
}

std::vector<ScoredPlan*> AllPlans(ParetoFront& front) {
  std::vector<ScoredPlan*> all;
  for (ScoredPlan& plan : front.plans) all.push_back(&plan);
  for (ScoredPlan& plan : front.uniform) all.push_back(&plan);
  all.push_back(&front.reference);
  return all;
}

}  // namespace

void AddCalibrationIntervals(ParetoFront& front) {
  for (ScoredPlan* plan : AllPlans(front)) {
    if (plan->calibration.per_prompt.empty()) continue;
    plan->calibration_interval = IntervalOf(plan->calibration, front.run.seed);
  }
}

bool AddHeldOutScores(ParetoFront& front, EvaluationCache& evaluator,
                      const std::function<bool()>& should_stop) {
  if (evaluator.prompt_count() == 0) return true;
  const std::vector<ScoredPlan*> scored = AllPlans(front);
  LogInfo(fmt::format("held out: scoring {} plans on {} prompts", scored.size(),
                      evaluator.prompt_count()));
  std::vector<PrecisionPlan> plans;
  for (const ScoredPlan* plan : scored) plans.push_back(plan->plan);
  constexpr size_t kBatch = 16;
  for (size_t begin = 0; begin < plans.size(); begin += kBatch) {
    if (should_stop()) return false;
    evaluator.Evaluate(std::span(plans).subspan(begin, std::min(kBatch, plans.size() - begin)));
  }
  for (ScoredPlan* plan : scored) {
    const PlanScore& score = evaluator.ScoreOf(plan->plan);
    plan->held_out = HeldOutScore{score, IntervalOf(score, front.run.seed)};
  }
  return true;
}

}  // namespace kvtune
