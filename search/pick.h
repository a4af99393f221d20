// Choosing one plan of a front: the cheapest that is good enough, or the best that fits.
#pragma once

#include <optional>
#include <string>

#include "lib/core/objective.h"
#include "lib/core/pareto_front.h"

namespace kvtune {

// At least one must be set; all that are set must hold.
struct PickConstraints {
  std::optional<double> max_loss;   // lib/core/objective.h
  std::optional<double> max_bits;   // effective bits
  std::optional<double> max_bytes;  // per token of the whole model
  // The held-out loss is not worse than that of the target's 8-bit uniform plan, within that plan's
  // confidence interval. Needs held-out scores.
  bool lossless = false;
};

struct PickedPlan {
  ScoredPlan plan;
  // Which loss decided. Held-out scores are used when every plan of the front has one: calibration
  // losses are those the search selected for, and so the more flattering ones.
  ScoreSet scores = ScoreSet::kCalibration;
  // Why this one, for people: "the cheapest of 14 plans with a held-out loss of at most 0.01 nats
  // per token".
  std::string reason;
};

// With a constraint on the loss the plan of the fewest bytes, otherwise the plan of the smallest
// loss; ties go to the other of the two.
// Throws Error (kUsage) without a constraint; Error with what is missing for `lossless`, and with
// the nearest miss when no plan satisfies all constraints.
PickedPlan PickPlan(const ParetoFront& front, const PickConstraints& constraints);

}  // namespace kvtune
