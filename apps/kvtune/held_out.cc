#include "apps/kvtune/held_out.h"

#include <fmt/format.h>

#include <vector>

#include "lib/base/log.h"
#include "lib/base/random.h"
#include "lib/base/statistics.h"
#include "lib/calib/model_evaluator.h"
#include "search/evaluation_cache.h"

namespace kvtune {
namespace {

HeldOutScore WithInterval(PlanScore score, uint64_t seed) {
  std::vector<double> kl_sums;
  std::vector<double> tokens;
  for (const PromptScore& prompt : score.per_prompt) {
    kl_sums.push_back(prompt.kl_sum);
    tokens.push_back(static_cast<double>(prompt.tokens));
  }
  BootstrapOptions options;
  options.seed = DeriveSeed(seed, SeedPurpose::kBootstrap);
  const Interval interval = BootstrapRatioInterval(kl_sums, tokens, options);
  return {.score = std::move(score), .kl_mean_interval = interval};
}

std::vector<ScoredPlan*> AllPlans(ParetoFront& front) {
  std::vector<ScoredPlan*> all;
  for (ScoredPlan& plan : front.plans) all.push_back(&plan);
  for (ScoredPlan& plan : front.uniform) all.push_back(&plan);
  all.push_back(&front.reference);
  return all;
}

}  // namespace

void AddHeldOutScores(ParetoFront& front, ModelRunner& runner, std::span<const TokenIds> prompts) {
  if (prompts.empty()) return;
  const std::vector<ScoredPlan*> scored = AllPlans(front);
  LogInfo(fmt::format("held out: scoring {} plans on {} prompts", scored.size(), prompts.size()));
  std::vector<PrecisionPlan> plans;
  for (const ScoredPlan* plan : scored) plans.push_back(plan->plan);
  ModelEvaluator evaluator(runner, prompts);
  EvaluationCache distinct(evaluator);  // uniform plans may be on the front too
  std::vector<PlanScore> scores = distinct.Evaluate(plans);
  for (size_t i = 0; i < scored.size(); ++i) {
    scored[i]->held_out = WithInterval(std::move(scores[i]), front.run.seed);
  }
}

}  // namespace kvtune
