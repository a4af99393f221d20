// Picks one plan of a front: the cheapest that is good enough, or the best that fits.
#pragma once

#include <optional>
#include <string>

#include "lib/core/objective.h"
#include "lib/core/pareto_front.h"

namespace kvtune {

// What the picked plan must satisfy. At least one constraint must be set, and all that are set must
// hold.
struct PickConstraints {
  std::optional<double> max_loss;   // nats per token, as in lib/core/objective.h
  std::optional<double> max_bits;   // effective bits
  std::optional<double> max_bytes;  // per token of the whole model
  // The held-out loss is not worse than that of the target's 8-bit uniform plan, within that plan's
  // confidence interval. Needs held-out scores.
  bool lossless = false;
};

struct PickedPlan {
  ScoredPlan plan;
  // Which loss decided. Held-out scores are used when every plan of the front has one, because the
  // search selected plans for their calibration losses, which therefore look better than they are.
  ScoreSet scores = ScoreSet::kCalibration;
  // Why this plan was picked, in words: "the cheapest of 14 plans with a held-out loss of at most
  // 0.01 nats per token".
  std::string reason;
};

// Picks among the plans that satisfy all constraints. With a constraint on the loss, it picks the
// plan of the fewest bytes, and ties go to the smaller loss. Otherwise it picks the plan of the
// smallest loss, and ties go to fewer bytes. Throws Error (kUsage) when no constraint is set.
// Throws Error that says what is missing when `lossless` cannot be judged, and Error with the
// nearest miss when no plan satisfies all constraints.
PickedPlan PickPlan(const ParetoFront& front, const PickConstraints& constraints);

}  // namespace kvtune
