#include "lib/report/trust_text.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "lib/base/printable.h"
#include "lib/base/quantity.h"
#include "lib/base/statistics.h"
#include "lib/core/objective.h"

namespace kvtune {

std::string OptimismSentence(const ParetoFront& front) {
  if (front.is_by_answers()) return "";  // no prompt chose its plans
  std::vector<double> ratios;
  for (const ScoredPlan& plan : front.plans) {
    if (!plan.held_out) return "";
    const double expected = LossOf(plan, ScoreSet::kCalibration);
    if (expected > 0) ratios.push_back(LossOf(plan, ScoreSet::kHeldOut) / expected);
  }
  if (ratios.empty()) return "";
  const auto [least, most] = std::ranges::minmax(ratios);
  if (ratios.size() == 1) {
    return fmt::format(
        "On held-out prompts the plan of the front loses {} times what it loses on the prompts "
        "that chose it.\n",
        FactorText(least, 2));
  }
  return fmt::format(
      "On held-out prompts the {} plans of the front lose {} times (median; {} to {}) "
      "what they lose on the prompts that chose them.\n",
      ratios.size(), FactorText(Quantile(ratios, 0.5), 2), FactorText(least, 2),
      FactorText(most, 2));
}

std::string EffectiveTokensSentence(const ParetoFront& front) {
  const ScoredPlan* fewest = nullptr;
  size_t count = 0;
  for (const ScoredPlan& plan : front.plans) {
    const std::optional<double>& effective = plan.calibration.effective_tokens;
    if (!effective || *effective >= kFewestEffectiveTokens) continue;
    ++count;
    if (fewest == nullptr || *effective < *fewest->calibration.effective_tokens) fewest = &plan;
  }
  if (fewest == nullptr) return "";
  const PlanScore& score = fewest->calibration;
  const double wanted = std::ceil(static_cast<double>(score.prompts) * kFewestEffectiveTokens /
                                  *score.effective_tokens);
  return fmt::format(
      "Fewer than {:.0f} tokens carry the loss of {} of the {} plans of the front ({}: {:.0f} of "
      "{}). More prompts help more than more plans: about {:.0f} instead of {}.\n",
      kFewestEffectiveTokens, count, front.plans.size(), PrintableLine(fewest->name),
      *score.effective_tokens, score.tokens, wanted, score.prompts);
}

}  // namespace kvtune
