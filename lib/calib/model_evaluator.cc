#include "lib/calib/model_evaluator.h"

#include <fmt/format.h>

#include "lib/base/error.h"
#include "lib/base/progress.h"
#include "lib/base/statistics.h"

namespace kvtune {
namespace {

PlanScore Summarize(const std::vector<PromptLosses>& prompts) {
  PlanScore score;
  std::vector<double> token_kl;
  double kl_sum = 0, nll_sum = 0;
  int64_t top1_matches = 0;
  for (const PromptLosses& losses : prompts) {
    PromptScore prompt;
    prompt.tokens = static_cast<int64_t>(losses.token_kl.size());
    for (const float kl : losses.token_kl) prompt.kl_sum += static_cast<double>(kl);
    prompt.nll_sum = losses.nll_sum;
    prompt.top1_matches = losses.top1_matches;
    token_kl.insert(token_kl.end(), losses.token_kl.begin(), losses.token_kl.end());
    kl_sum += prompt.kl_sum;
    nll_sum += prompt.nll_sum;
    top1_matches += prompt.top1_matches;
    score.per_prompt.push_back(prompt);
  }
  score.prompts = static_cast<int64_t>(prompts.size());
  score.tokens = static_cast<int64_t>(token_kl.size());
  if (score.tokens == 0) throw Error("scoring plans: found no prompts, expected at least 1");
  const auto tokens = static_cast<double>(score.tokens);
  score.kl_mean = kl_sum / tokens;
  score.kl_p99 = Quantile(token_kl, 0.99);
  score.kl_p999 = Quantile(token_kl, 0.999);
  score.top1_agreement = static_cast<double>(top1_matches) / tokens;
  score.nll = nll_sum / tokens;
  return score;
}

}  // namespace

ModelEvaluator::ModelEvaluator(ModelRunner& runner, std::span<const TokenIds> prompts)
    : runner_(runner), prompts_(prompts) {}

size_t ModelEvaluator::layer_count() const {
  return static_cast<size_t>(runner_.config().layer_count());
}

std::vector<PlanScore> ModelEvaluator::Evaluate(std::span<const PrecisionPlan> plans) {
  if (!exact_nll_) {
    const PrecisionPlan exact = PrecisionPlan::Uniform(kExactPair, layer_count());
    exact_nll_ = Summarize(runner_.ScorePlans(std::span(&exact, 1), prompts_, nullptr).front()).nll;
  }
  Progress progress(fmt::format("scoring {} plans", plans.size()),
                    static_cast<int64_t>(prompts_.size()), "prompts");
  const std::vector<std::vector<PromptLosses>> by_plan =
      runner_.ScorePlans(plans, prompts_, [&](int64_t count) { progress.Advance(count); });
  progress.Dismiss();
  std::vector<PlanScore> scores;
  for (const std::vector<PromptLosses>& losses : by_plan) {
    scores.push_back(Summarize(losses));
    scores.back().delta_nll = scores.back().nll - *exact_nll_;
  }
  return scores;
}

}  // namespace kvtune
