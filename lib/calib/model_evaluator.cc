#include "lib/calib/model_evaluator.h"

#include <fmt/format.h>

#include <chrono>

#include "lib/base/log.h"
#include "lib/base/progress.h"

namespace kvtune {
namespace {

double SecondsSince(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

}  // namespace

std::vector<std::vector<PromptScore>> ModelEvaluator::ScorePrompts(
    std::span<const PrecisionPlan> plans, PromptRange range) {
  // The exact model runs over all prompts in one pass, even when only some are asked for now, so
  // that a model with streamed weights is read only once for it.
  if (!knows_exact_) {
    const PrecisionPlan exact = PrecisionPlan::Uniform(kExactPair, layer_count());
    model_.ScorePlans(std::span(&exact, 1), prompts_, nullptr);
    knows_exact_ = true;
  }
  const auto start = std::chrono::steady_clock::now();
  const size_t count = range.end - range.begin;
  Progress progress(fmt::format("scoring {} plans", plans.size()), static_cast<int64_t>(count),
                    "prompts", static_cast<double>(plans.size()));
  std::vector<std::vector<PromptScore>> scores =
      model_.ScorePlans(plans, prompts_.subspan(range.begin, count),
                        [&](int64_t finished) { progress.Advance(finished); });
  progress.Dismiss();
  LogDetail(fmt::format("scored {} plans on {} prompts in {:.2f} s", plans.size(), count,
                        SecondsSince(start)));
  return scores;
}

}  // namespace kvtune
