// What a plan loses: the one place that knows which of a plan's measured scores the search
// minimizes, plans are picked by and tables show. A further loss is a value of Objective and its
// cases in objective.cc; nothing else names the field that holds it.
#pragma once

#include <optional>
#include <string_view>

#include "lib/core/pareto_front.h"
#include "lib/core/plan_score.h"
#include "lib/core/sensitivity.h"

namespace kvtune {

// Losses are sums over tokens divided by the number of tokens, >= 0, lower is better, 0 for the
// exact plan.
enum class Objective {
  kMeanKl,  // forward KL from the exact to the quantized next-token distribution
};

// By which plans are searched, picked and compared.
inline constexpr Objective kSearchObjective = Objective::kMeanKl;

// How an objective is written and read by people.
struct ObjectiveWords {
  std::string_view name;       // "kl_mean": the field of files, a limit of the gate
  std::string_view word;       // "KL": tables and sentences
  std::string_view unit;       // "nats per token"
  double worse_direction = 1;  // +1: a higher value is worse
};
const ObjectiveWords& Describe(Objective objective = kSearchObjective);

// Per token of the prompts that were scored.
double LossOf(const PlanScore& score, Objective objective = kSearchObjective);
// Of one prompt, summed over its tokens: racing and intervals weigh prompts by their tokens.
double LossOf(const PromptScore& prompt, Objective objective = kSearchObjective);
// Per token of all prompts: measured, or expected of a plan that racing stopped.
double LossOverAllPrompts(const PlanScore& score, Objective objective = kSearchObjective);
// With one layer quantized and all others exact; nullopt where calibration did not measure it.
std::optional<double> IsolatedLossOf(const PairErrors& errors,
                                     Objective objective = kSearchObjective);

// The prompts that a loss of a plan is over.
enum class ScoreSet { kCalibration, kHeldOut };
// REQUIRES: the plan has a held-out score where that is asked for.
double LossOf(const ScoredPlan& plan, ScoreSet scores, Objective objective = kSearchObjective);

// Decades, as the search measures losses: they span orders of magnitude, and on a linear scale the
// crowding distance and the hypervolume would see the worst plans only. Dominance is the same on
// both. Losses far below any rounding floor count as 1e-12.
double LogLoss(double loss);

}  // namespace kvtune
