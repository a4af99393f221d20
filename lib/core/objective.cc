#include "lib/core/objective.h"

#include <algorithm>
#include <cmath>
#include <stdexcept>

namespace kvtune {
namespace {

[[noreturn]] void FailForUnknownObjective() {
  throw std::logic_error("Objective: found a value without a loss, expected a case for every one");
}

}  // namespace

const ObjectiveWords& Describe(Objective objective) {
  static constexpr ObjectiveWords kMeanKlWords = {
      .name = "kl_mean", .word = "KL", .unit = "nats per token", .worse_direction = 1};
  switch (objective) {
    case Objective::kMeanKl:
      return kMeanKlWords;
  }
  FailForUnknownObjective();
}

double LossOf(const PlanScore& score, Objective objective) {
  switch (objective) {
    case Objective::kMeanKl:
      return score.kl_mean;
  }
  FailForUnknownObjective();
}

double LossOf(const PromptScore& prompt, Objective objective) {
  switch (objective) {
    case Objective::kMeanKl:
      return prompt.kl_sum;
  }
  FailForUnknownObjective();
}

std::optional<double> IsolatedLossOf(const PairErrors& errors, Objective objective) {
  switch (objective) {
    case Objective::kMeanKl:
      return errors.kl;
  }
  FailForUnknownObjective();
}

double LossOverAllPrompts(const PlanScore& score, Objective objective) {
  return score.expected_loss.value_or(LossOf(score, objective));
}

double LossOf(const ScoredPlan& plan, ScoreSet scores, Objective objective) {
  return LossOf(scores == ScoreSet::kHeldOut ? plan.held_out->score : plan.calibration, objective);
}

ScoreSet ComparableScores(const ParetoFront& front) {
  const auto scored = [](const ScoredPlan& plan) { return plan.held_out.has_value(); };
  const bool all =
      std::ranges::all_of(front.plans, scored) && std::ranges::all_of(front.uniform, scored);
  return all ? ScoreSet::kHeldOut : ScoreSet::kCalibration;
}

double LogLoss(double loss) {
  constexpr double kTiny = 1e-12;  // nats per token
  return std::log10(std::max(loss, kTiny));
}

}  // namespace kvtune
