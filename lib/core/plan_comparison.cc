#include "lib/core/plan_comparison.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>
#include <numeric>
#include <vector>

#include "lib/core/objective.h"

namespace kvtune {
namespace {

std::vector<double> LossesOf(const PlanScore& score) {
  std::vector<double> losses;
  // Rounding may bring the loss of a nearly exact plan a little below 0.
  for (const PromptScore& prompt : score.per_prompt)
    losses.push_back(std::max(0.0, LossOf(prompt)));
  return losses;
}

// Where one of the two loses nothing at all, there is no logarithm to take.
void CompareWithNothing(double loss, double reference, PlanComparison& comparison) {
  if (loss == 0) {
    comparison.ratio = reference == 0 ? 1 : 0;
    comparison.interval = Interval{comparison.ratio, comparison.ratio};
    comparison.standing = Standing::kAsGood;
  } else {
    comparison.ratio = std::numeric_limits<double>::infinity();
    comparison.standing = Standing::kWorse;
  }
}

std::optional<int64_t> PromptsToDecide(const LogRatio& ratio, const ComparisonOptions& options) {
  const double estimate = std::log(ratio.ratio());
  return FewestDraws(ratio, [&](int64_t prompts) {
    const LogRatio::Reach reach = ratio.ReachAfter(prompts, options.confidence);
    return prompts >= kFewestDraws &&
           (estimate + reach.above <= std::log1p(options.margin) || estimate - reach.below > 0);
  });
}

}  // namespace

std::string_view StandingName(Standing standing) {
  switch (standing) {
    case Standing::kUndecided:
      return "undecided";
    case Standing::kAsGood:
      return "as good";
    case Standing::kWorse:
      return "worse";
    case Standing::kTie:
      return "tie";
  }
  return "";
}

bool CanCompare(const PlanScore& plan, const PlanScore& reference) {
  return !plan.per_prompt.empty() && std::ranges::equal(plan.per_prompt, reference.per_prompt, {},
                                                        &PromptScore::tokens, &PromptScore::tokens);
}

PlanComparison ComparePlans(const PlanScore& plan, const PlanScore& reference,
                            const ComparisonOptions& options) {
  const std::vector<double> losses = LossesOf(plan), others = LossesOf(reference);
  PlanComparison comparison;
  comparison.margin = options.margin;
  comparison.prompts = static_cast<int64_t>(losses.size());
  for (size_t i = 0; i < losses.size(); ++i) comparison.worse_prompts += losses[i] > others[i];
  const double loss = std::accumulate(losses.begin(), losses.end(), 0.0);
  const double other = std::accumulate(others.begin(), others.end(), 0.0);
  const double tokens = static_cast<double>(plan.tokens);
  if (loss == 0 || other == 0) {
    CompareWithNothing(loss, other, comparison);
  } else if (losses == others) {
    comparison.interval = Interval{1, 1};
    comparison.standing = Standing::kAsGood;
  } else if (losses.size() < 2) {
    comparison.ratio = loss / other;
    return comparison;
  } else {
    const LogRatio ratio(losses, others);
    comparison.ratio = loss / other;
    comparison.interval = RatioInterval(losses, others, options.confidence);
    if (!comparison.interval) {
      comparison.standing = Standing::kUndecided;
    } else if (comparison.interval->high <= 1 + options.margin) {
      comparison.standing = Standing::kAsGood;
    } else {
      comparison.standing = comparison.interval->low > 1 ? Standing::kWorse : Standing::kTie;
    }
    if (comparison.standing == Standing::kTie || !comparison.interval)
      comparison.prompts_to_decide = PromptsToDecide(ratio, options);
  }
  if (comparison.standing == Standing::kWorse && (loss - other) < options.noise_floor * tokens)
    comparison.standing = Standing::kTie;
  return comparison;
}

std::optional<PlanComparison> ComparePlans(const ScoredPlan& plan, const ScoredPlan& reference,
                                           const ComparisonOptions& options) {
  if (plan.held_out && reference.held_out) {
    if (!CanCompare(plan.held_out->score, reference.held_out->score)) return std::nullopt;
    return ComparePlans(plan.held_out->score, reference.held_out->score, options);
  }
  if (CanCompare(plan.calibration, reference.calibration))
    return ComparePlans(plan.calibration, reference.calibration, options);
  return std::nullopt;
}

Json ToJson(const PlanComparison& comparison) {
  Json json = {{"ratio", nullptr},
               {"interval", nullptr},
               {"prompts", comparison.prompts},
               {"worse_prompts", comparison.worse_prompts},
               {"margin", comparison.margin},
               {"standing", StandingName(comparison.standing)},
               {"prompts_to_decide", nullptr}};
  if (std::isfinite(comparison.ratio)) json["ratio"] = comparison.ratio;
  if (comparison.interval) json["interval"] = {comparison.interval->low, comparison.interval->high};
  if (comparison.prompts_to_decide) json["prompts_to_decide"] = *comparison.prompts_to_decide;
  return json;
}

}  // namespace kvtune
