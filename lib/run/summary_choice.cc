#include "lib/run/summary_choice.h"

#include <algorithm>
#include <functional>
#include <limits>
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

// The uniform plans of so many bits, the one with the smallest loss first.
std::vector<const ScoredPlan*> UniformOfBits(const ParetoFront& front, int bits, ScoreSet scores) {
  std::vector<const ScoredPlan*> plans;
  for (const ScoredPlan& plan : front.uniform) {
    if (HasBits(plan, bits)) plans.push_back(&plan);
  }
  std::ranges::stable_sort(plans, {},
                           [&](const ScoredPlan* plan) { return LossOf(*plan, scores); });
  return plans;
}

// Plans of the front that are uniform too go by the uniform plan's name, which says more.
const ScoredPlan* Named(const ParetoFront& front, const ScoredPlan* plan) {
  if (plan == nullptr) return nullptr;
  const auto found = std::ranges::find(front.uniform, plan->plan, &ScoredPlan::plan);
  return found == front.uniform.end() ? plan : &*found;
}

// The upper end of the loss's interval; infinite where none is claimed.
double CautiousLoss(const ScoredPlan& plan, ScoreSet scores) {
  const bool held_out = scores == ScoreSet::kHeldOut;
  const auto& interval = held_out ? plan.held_out->loss_interval : plan.calibration_interval;
  return interval ? interval->high : std::numeric_limits<double>::infinity();
}

// The smallest plan that is shown to be as good as the 8-bit plan.
void ChooseLikeEightBits(const ParetoFront& front, SummaryChoice& choice) {
  if (choice.reference == nullptr || choice.scores != ScoreSet::kHeldOut) return;
  PickConstraints constraints;
  constraints.lossless = true;
  try {
    const PickedPlan picked = PickPlan(front, constraints);
    choice.like_eight_bits = Named(front, FindPlan(front, picked.plan.name));
    choice.like_comparison = picked.comparison;
    if (!picked.undecided_comparison) return;
    choice.undecided = Named(front, FindPlan(front, picked.undecided));
    choice.undecided_comparison = picked.undecided_comparison;
  } catch (const Error&) {
    // The logs do not have the single prompts, so nothing is claimed.
  }
}

// The plans of little loss that take the least memory and, in a search by time, the least time. A
// uniform plan may be one of them on the held-out prompts although others kept it off the front.
void ChooseOfLittleLoss(const ParetoFront& front, SummaryChoice& choice) {
  const auto size = [&](const ScoredPlan& plan) {
    return std::pair(BytesOf(plan), CautiousLoss(plan, choice.scores));
  };
  const auto consider = [&](const ScoredPlan& plan) {
    if (CautiousLoss(plan, choice.scores) > kSmallestLoss) return;
    if (!choice.smallest || size(plan) < size(*choice.smallest)) choice.smallest = &plan;
    if (front.latency &&
        (!choice.fastest || plan.cost.latency_ms < choice.fastest->cost.latency_ms))
      choice.fastest = &plan;
  };
  std::ranges::for_each(front.plans, consider);
  std::ranges::for_each(front.uniform, consider);
  choice.smallest = Named(front, choice.smallest);
  choice.fastest = Named(front, choice.fastest);
}

}  // namespace

SummaryChoice ChooseForSummary(const ParetoFront& front) {
  SummaryChoice choice;
  choice.scores = ComparableScores(front);
  choice.reference = EightBitPlan(front);
  const std::vector<const ScoredPlan*> eight_bits = UniformOfBits(front, 8, choice.scores);
  const std::vector<const ScoredPlan*> four_bits = UniformOfBits(front, 4, choice.scores);
  if (!four_bits.empty()) {
    choice.four_bits = four_bits.back();
    choice.best_four_bits = four_bits.front();
  }
  ChooseLikeEightBits(front, choice);

  std::vector<const ScoredPlan*> below;  // the 8-bit plan, and the plans of the front below it
  for (const ScoredPlan* plan : FrontInBytes(front)) {
    if (!choice.reference || BytesOf(*plan) < BytesOf(*choice.reference)) below.push_back(plan);
  }
  if (choice.reference) below.push_back(choice.reference);
  const double noise_floor = front.run.noise_floor.value_or(0);
  choice.recommended = Named(front, Knee(below, choice.scores, noise_floor));
  const std::vector<const ScoredPlan*> knees = Knees(below, choice.scores, noise_floor);
  ChooseOfLittleLoss(front, choice);

  const auto add = [&](const ScoredPlan* plan) {
    plan = Named(front, plan);
    const bool is_there = std::ranges::find(choice.rows, plan) != choice.rows.end();
    if (plan && !is_there && choice.rows.size() < kMostRows) choice.rows.push_back(plan);
  };
  add(choice.reference);
  if (!eight_bits.empty()) add(eight_bits.front());
  add(choice.four_bits);
  add(choice.best_four_bits);
  for (const ScoredPlan* plan :
       {choice.like_eight_bits, choice.recommended, choice.smallest, choice.fastest})
    add(plan);
  for (const ScoredPlan* plan : knees) add(plan);
  // Without a knee there may be plans all the same.
  if (knees.empty()) {
    for (const ScoredPlan* plan : below) add(plan);
  }
  std::ranges::stable_sort(choice.rows, std::greater<>(),
                           [](const ScoredPlan* plan) { return BytesOf(*plan); });
  return choice;
}

}  // namespace kvtune
