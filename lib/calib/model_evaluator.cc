#include "lib/calib/model_evaluator.h"

#include <fmt/format.h>

#include "lib/base/error.h"
#include "lib/base/progress.h"

namespace kvtune {
namespace {

PromptScore ScoreOf(PromptLosses losses, double exact_nll) {
  PromptScore score;
  score.tokens = static_cast<int64_t>(losses.token_kl.size());
  for (const float kl : losses.token_kl) score.kl_sum += static_cast<double>(kl);
  score.nll_sum = losses.nll_sum;
  score.exact_nll_sum = exact_nll;
  score.top1_matches = losses.top1_matches;
  score.token_kl = std::move(losses.token_kl);
  return score;
}

}  // namespace

ModelEvaluator::ModelEvaluator(ModelRunner& runner, std::span<const TokenIds> prompts)
    : runner_(runner), prompts_(prompts) {}

size_t ModelEvaluator::layer_count() const {
  return static_cast<size_t>(runner_.config().layer_count());
}

std::vector<std::vector<PromptScore>> ModelEvaluator::ScorePrompts(
    std::span<const PrecisionPlan> plans, PromptRange range) {
  if (exact_nll_.empty()) {
    const PrecisionPlan exact = PrecisionPlan::Uniform(kExactPair, layer_count());
    const auto by_plan = runner_.ScorePlans(std::span(&exact, 1), prompts_, nullptr);
    for (const PromptLosses& losses : by_plan.front()) exact_nll_.push_back(losses.nll_sum);
  }
  const size_t count = range.end - range.begin;
  Progress progress(fmt::format("scoring {} plans", plans.size()), static_cast<int64_t>(count),
                    "prompts");
  std::vector<std::vector<PromptLosses>> scored =
      runner_.ScorePlans(plans, prompts_.subspan(range.begin, count),
                         [&](int64_t finished) { progress.Advance(finished); });
  progress.Dismiss();
  std::vector<std::vector<PromptScore>> scores;
  for (std::vector<PromptLosses>& prompts : scored) {
    scores.emplace_back();
    for (size_t i = 0; i < count; ++i) {
      scores.back().push_back(ScoreOf(std::move(prompts[i]), exact_nll_[range.begin + i]));
    }
  }
  return scores;
}

}  // namespace kvtune
