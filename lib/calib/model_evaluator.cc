#include "lib/calib/model_evaluator.h"

#include <fmt/format.h>

#include "lib/base/progress.h"

namespace kvtune {

std::vector<std::vector<PromptScore>> ModelEvaluator::ScorePrompts(
    std::span<const PrecisionPlan> plans, PromptRange range) {
  // The exact model runs over all prompts in one pass, even when only some are asked for now, so
  // that a model with streamed weights is read only once for it.
  if (!knows_exact_) {
    const PrecisionPlan exact = PrecisionPlan::Uniform(kExactPair, layer_count());
    model_.ScorePlans(std::span(&exact, 1), prompts_, nullptr);
    knows_exact_ = true;
  }
  const size_t count = range.end - range.begin;
  Progress progress(fmt::format("scoring {} plans", plans.size()), static_cast<int64_t>(count),
                    "prompts");
  std::vector<std::vector<PromptScore>> scores =
      model_.ScorePlans(plans, prompts_.subspan(range.begin, count),
                        [&](int64_t finished) { progress.Advance(finished); });
  progress.Dismiss();
  return scores;
}

}  // namespace kvtune
