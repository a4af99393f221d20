// The loss of a plan. This is the one place that knows which of a plan's measured scores the search
// minimizes, plans are picked by and tables show. A further loss is a new value of Objective and
// its cases in objective.cc; nothing else names the field that holds it.
#pragma once

#include <optional>
#include <string_view>

#include "lib/core/pareto_front.h"
#include "lib/core/plan_score.h"
#include "lib/core/sensitivity.h"

namespace kvtune {

// Every loss is a sum over tokens divided by the number of tokens. It is >= 0, lower is better, and
// the exact plan loses 0.
enum class Objective {
  kMeanKl,  // forward KL from the exact to the quantized next-token distribution
};

// The loss by which plans are searched, picked and compared.
inline constexpr Objective kSearchObjective = Objective::kMeanKl;

// The words for an objective in files and in text for people.
struct ObjectiveWords {
  std::string_view name;       // "kl_mean": the field in files and the limit of the gate
  std::string_view word;       // "KL": the word in tables and sentences
  std::string_view unit;       // "nats per token"
  double worse_direction = 1;  // +1: a higher value is worse
};
const ObjectiveWords& Describe(Objective objective = kSearchObjective);

// Returns the loss per token of the prompts that were scored.
double LossOf(const PlanScore& score, Objective objective = kSearchObjective);
// Returns the loss of one prompt, summed over its tokens. It is a sum because racing and intervals
// weigh prompts by their tokens.
double LossOf(const PromptScore& prompt, Objective objective = kSearchObjective);
// Returns the loss per token over all prompts: the measured loss, or the expected loss of a plan
// that racing stopped.
double LossOverAllPrompts(const PlanScore& score, Objective objective = kSearchObjective);
// Returns the loss with one layer quantized and all others exact, or nullopt when calibration did
// not measure it.
std::optional<double> IsolatedLossOf(const PairErrors& errors,
                                     Objective objective = kSearchObjective);

// The set of prompts over which a plan's loss is taken.
enum class ScoreSet { kCalibration, kHeldOut };
// REQUIRES: the plan has a held-out score when `scores` is kHeldOut.
double LossOf(const ScoredPlan& plan, ScoreSet scores, Objective objective = kSearchObjective);
// Returns the set by which the plans of a front are compared: the held-out prompts when all plans
// of the front and all uniform plans have such scores, otherwise the calibration prompts. Plans
// near the front do not decide, because older runs have none.
ScoreSet ComparableScores(const ParetoFront& front);

// Returns log10 of the loss, which is how the search measures losses. Losses span orders of
// magnitude, so on a linear scale the crowding distance and the hypervolume would see only the
// worst plans. Which plan dominates which is the same on both scales. Losses far below any rounding
// floor count as 1e-12.
double LogLoss(double loss);

}  // namespace kvtune
