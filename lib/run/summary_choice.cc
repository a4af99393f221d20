#include "lib/run/summary_choice.h"

#include <algorithm>
#include <functional>
#include <utility>
#include <vector>

#include "lib/base/error.h"
#include "lib/core/front_knees.h"
#include "search/pick.h"

namespace kvtune {
namespace {

double BytesOf(const ScoredPlan& plan) { return plan.cost.bytes_per_token; }

bool HasBits(const ScoredPlan& plan, int bits) {
  // Layers that the engine keeps exact beside a format do not count.
  for (const PrecisionPair pair : plan.plan.layers) {
    if (pair.is_exact()) continue;
    if (FormatOf(pair.key).bits != bits || FormatOf(pair.value).bits != bits) return false;
  }
  return !plan.plan.is_exact();
}

// The uniform plan of so many bits with the fewest bytes, then the least loss.
const ScoredPlan* UniformOfBits(const ParetoFront& front, int bits, ScoreSet scores) {
  const ScoredPlan* best = nullptr;
  const auto key = [&](const ScoredPlan& plan) {
    return std::pair(BytesOf(plan), LossOf(plan, scores));
  };
  for (const ScoredPlan& plan : front.uniform) {
    if (HasBits(plan, bits) && (!best || key(plan) < key(*best))) best = &plan;
  }
  return best;
}

// The upper end of the loss's interval where one is claimed, otherwise the loss.
double CautiousLoss(const ScoredPlan& plan, ScoreSet scores) {
  const bool held_out = scores == ScoreSet::kHeldOut;
  const auto& interval = held_out ? plan.held_out->loss_interval : plan.calibration_interval;
  return interval ? interval->high : LossOf(plan, scores);
}

// The smallest plan that is shown to be as good as the 8-bit plan.
void ChooseLikeEightBits(const ParetoFront& front, SummaryChoice& choice) {
  if (choice.reference == nullptr || choice.scores != ScoreSet::kHeldOut) return;
  PickConstraints constraints;
  constraints.lossless = true;
  try {
    const PickedPlan picked = PickPlan(front, constraints);
    // The front may have the reference under another name.
    choice.like_eight_bits = picked.plan.plan == choice.reference->plan
                                 ? choice.reference
                                 : FindPlan(front, picked.plan.name);
    choice.like_comparison = picked.comparison;
    if (!picked.undecided_comparison) return;
    choice.undecided = FindPlan(front, picked.undecided);
    choice.undecided_comparison = picked.undecided_comparison;
  } catch (const Error&) {
    // The logs do not have the single prompts, so nothing is claimed.
  }
}

}  // namespace

SummaryChoice ChooseForSummary(const ParetoFront& front) {
  SummaryChoice choice;
  choice.scores = ComparableScores(front);
  choice.reference = EightBitPlan(front);
  choice.four_bits = UniformOfBits(front, 4, choice.scores);
  ChooseLikeEightBits(front, choice);

  std::vector<const ScoredPlan*> below;  // the 8-bit plan, and the plans of the front below it
  for (const ScoredPlan& plan : front.plans) {
    if (!choice.reference || BytesOf(plan) < BytesOf(*choice.reference)) below.push_back(&plan);
  }
  if (choice.reference) below.push_back(choice.reference);
  const double noise_floor = front.run.noise_floor.value_or(0);
  choice.recommended = Knee(below, choice.scores, noise_floor);
  const std::vector<const ScoredPlan*> knees = Knees(below, choice.scores, noise_floor);
  for (const ScoredPlan* plan : below) {
    if (CautiousLoss(*plan, choice.scores) > kSmallestLoss) continue;
    if (!choice.smallest || BytesOf(*plan) < BytesOf(*choice.smallest)) choice.smallest = plan;
  }

  const auto add = [&](const ScoredPlan* plan) {
    if (!plan || choice.rows.size() >= kMostRows) return;
    // A plan that is also one of the others stands there once, by the first of its names.
    for (const ScoredPlan* row : choice.rows) {
      if (row->plan == plan->plan) return;
    }
    choice.rows.push_back(plan);
  };
  // Uniform plans come first, so that a plan of the front that equals one has its name.
  add(choice.reference);
  add(UniformOfBits(front, 8, choice.scores));
  add(choice.four_bits);
  for (const ScoredPlan* plan : {choice.like_eight_bits, choice.recommended, choice.smallest})
    add(plan);
  for (const ScoredPlan* plan : knees) add(plan);
  // Without a knee there may be plans all the same.
  for (const ScoredPlan& plan : front.plans) add(&plan);
  std::ranges::stable_sort(choice.rows, std::greater<>(),
                           [](const ScoredPlan* plan) { return BytesOf(*plan); });
  return choice;
}

}  // namespace kvtune
