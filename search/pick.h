// Picks one plan of a run: the cheapest that is good enough, or the best that fits.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "lib/core/objective.h"
#include "lib/core/pareto_front.h"
#include "lib/core/plan_comparison.h"

namespace kvtune {

// What the picked plan must satisfy. At least one constraint must be set, and all that are set must
// hold.
struct PickConstraints {
  std::optional<double> max_loss;   // nats per token, as in lib/core/objective.h
  std::optional<double> max_bits;   // effective bits
  std::optional<double> max_bytes;  // per token of the whole model
  // Attention of a decode step, as the search by time counted it.
  std::optional<double> max_milliseconds;
  // A plan of the run, by name or as it is written out: the picked one must be as good as it,
  // judged prompt by prompt (lib/core/plan_comparison.h).
  std::optional<std::string> like;
  bool lossless = false;  // like the plan that EightBitPlan returns
  double margin = kDefaultMargin;
};

struct PickedPlan {
  ScoredPlan plan;
  // Which loss decided. It is the held-out one when the run has it, because the search selected
  // plans for their calibration losses, which therefore look better than they are.
  ScoreSet scores = ScoreSet::kCalibration;
  // Why this plan was picked, in words: "the cheapest of 14 plans with a held-out loss of at most
  // 0.01 nats per token".
  std::string reason;
  // With `like` or `lossless`: the plan that it was compared with, and the comparison.
  std::string reference;
  std::optional<PlanComparison> comparison;
  // Then also the smaller plan that may be as good, if more prompts would show it; "" for none.
  std::string undecided;
  std::optional<PlanComparison> undecided_comparison;
  // Where the smallest loss decided: plans that fit too, and whose loss cannot be told from the
  // picked one's, by descending bytes.
  std::vector<std::string> ties;
};

// Every measured plan once: of the front, uniform and near the front. Not the exact plan.
std::vector<const ScoredPlan*> MeasuredPlans(const ParetoFront& front);

// The uniform plan that stands for 8 bits: fp8_e4m3 where the target has it, because that is what
// its engine's users run, else the first uniform plan of 8 bits. nullptr when there is none.
const ScoredPlan* EightBitPlan(const ParetoFront& front);

// Picks among the measured plans that satisfy all constraints. With a limit on the loss
// (`max_loss`, `like`, `lossless`) it picks the plan of the fewest bytes, and ties go to the
// smaller loss. Otherwise it picks the plan of the smallest loss, and ties go to fewer bytes.
// `like` and `lossless` need held-out scores with their single prompts (ReadFrontByPrompt).
//
// Throws Error (kUsage) when no constraint is set or one is out of range. Throws Error that says
// what is missing when plans cannot be compared, and Error with the nearest miss when no plan
// satisfies all constraints, with the number of prompts that would decide where prompts are what is
// missing.
PickedPlan PickPlan(const ParetoFront& front, const PickConstraints& constraints);

}  // namespace kvtune
