#include "search/pick.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <tuple>
#include <vector>

#include "lib/base/error.h"

namespace kvtune {
namespace {

void CheckConstraints(const PickConstraints& constraints) {
  if (!constraints.max_loss && !constraints.max_bits && !constraints.max_bytes &&
      !constraints.lossless) {
    throw Error(
        "picking a plan: found no constraint, expected --max-loss, --max-bits, --max-bytes or "
        "--lossless",
        ExitCode::kUsage);
  }
  for (const std::optional<double>& limit :
       {constraints.max_loss, constraints.max_bits, constraints.max_bytes}) {
    if (limit && !(std::isfinite(*limit) && *limit >= 0)) {
      throw Error(
          fmt::format("picking a plan: found the limit {}, expected a number of 0 or more", *limit),
          ExitCode::kUsage);
    }
  }
}

const ScoredPlan& EightBitUniformPlan(const ParetoFront& front) {
  for (const ScoredPlan& plan : front.uniform) {
    const PrecisionPair pair = plan.plan.layers.front();
    if (FormatOf(pair.key).bits == 8 && FormatOf(pair.value).bits == 8) return plan;
  }
  throw Error(
      "picking a lossless plan: found no uniform 8-bit plan in the front, expected the target's "
      "to compare with");
}

// The largest held-out loss that counts as lossless.
double LosslessLimit(const ParetoFront& front) {
  const ScoredPlan& baseline = EightBitUniformPlan(front);
  std::vector<std::string> missing;
  if (!baseline.held_out) missing.push_back(baseline.name);
  for (const ScoredPlan& plan : front.plans) {
    if (!plan.held_out) missing.push_back(plan.name);
  }
  if (!missing.empty()) {
    throw Error(
        fmt::format("picking a lossless plan: found no held-out scores for {}, expected them for "
                    "every plan of the front and for uniform {}",
                    fmt::join(missing, ", "), baseline.name));
  }
  return baseline.held_out->loss_interval.high;
}

class Picker {
 public:
  Picker(const ParetoFront& front, const PickConstraints& constraints)
      : front_(front), constraints_(constraints) {
    const bool all_held_out = std::all_of(front.plans.begin(), front.plans.end(),
                                          [](const ScoredPlan& plan) { return plan.held_out; });
    scores_ = all_held_out ? ScoreSet::kHeldOut : ScoreSet::kCalibration;
    if (constraints.max_loss) max_loss_ = *constraints.max_loss;
    if (constraints.lossless) max_loss_ = std::min(max_loss_, LosslessLimit(front));
  }

  PickedPlan Pick() const {
    std::vector<const ScoredPlan*> fitting;
    for (const ScoredPlan& plan : front_.plans) {
      if (Fits(plan) && Loss(plan) <= max_loss_) fitting.push_back(&plan);
    }
    if (fitting.empty()) FailWithNearestMiss();
    const ScoredPlan* picked = fitting.front();
    for (const ScoredPlan* plan : fitting) {
      if (Preference(*plan) < Preference(*picked)) picked = plan;
    }
    return {*picked, scores_,
            fmt::format("the {} of {} plans with {}", limits_loss() ? "cheapest" : "best",
                        front_.plans.size(), Wanted())};
  }

 private:
  bool limits_loss() const { return std::isfinite(max_loss_); }

  double Loss(const ScoredPlan& plan) const { return LossOf(plan, scores_); }

  bool Fits(const ScoredPlan& plan) const {
    return !(constraints_.max_bits && plan.cost.effective_bits > *constraints_.max_bits) &&
           !(constraints_.max_bytes && plan.cost.bytes_per_token > *constraints_.max_bytes);
  }

  // What plans are ordered by; the smallest is picked.
  std::pair<double, double> Preference(const ScoredPlan& plan) const {
    if (limits_loss()) return {plan.cost.bytes_per_token, Loss(plan)};
    return {Loss(plan), plan.cost.bytes_per_token};
  }

  std::string_view LossName() const {
    return scores_ == ScoreSet::kHeldOut ? "held-out loss" : "calibration loss";
  }

  // The constraints in words: "a held-out loss of at most 0.01 nats per token and at most 5
  // effective bits".
  std::string Wanted() const {
    std::vector<std::string> wanted;
    if (limits_loss()) {
      wanted.push_back(fmt::format("a {} of at most {:.4g} {}{}", LossName(), max_loss_,
                                   Describe().unit, constraints_.lossless ? " (lossless)" : ""));
    }
    if (constraints_.max_bits) {
      wanted.push_back(fmt::format("at most {} effective bits", *constraints_.max_bits));
    }
    if (constraints_.max_bytes) {
      wanted.push_back(fmt::format("at most {} bytes per token", *constraints_.max_bytes));
    }
    return fmt::format("{}", fmt::join(wanted, " and "));
  }

  // The nearest miss is the plan with the smallest loss among those that fit in bits and bytes, or
  // the smallest plan when none fits.
  [[noreturn]] void FailWithNearestMiss() const {
    if (front_.plans.empty()) throw Error("picking a plan: found an empty front, expected plans");
    const auto order = [this](const ScoredPlan& plan) {
      return Fits(plan) ? std::tuple(0, Loss(plan), plan.cost.bytes_per_token)
                        : std::tuple(1, plan.cost.bytes_per_token, Loss(plan));
    };
    const ScoredPlan& nearest = *std::min_element(
        front_.plans.begin(), front_.plans.end(),
        [&](const ScoredPlan& a, const ScoredPlan& b) { return order(a) < order(b); });
    throw Error(
        fmt::format("picking a plan: found none among {} with {}; the nearest is {} with a {} of "
                    "{:.4g} {} at {:.4g} effective bits and {} bytes per token",
                    front_.plans.size(), Wanted(), nearest.name, LossName(), Loss(nearest),
                    Describe().unit, nearest.cost.effective_bits, nearest.cost.bytes_per_token));
  }

  const ParetoFront& front_;
  const PickConstraints& constraints_;
  ScoreSet scores_ = ScoreSet::kCalibration;
  double max_loss_ = std::numeric_limits<double>::infinity();
};

}  // namespace

PickedPlan PickPlan(const ParetoFront& front, const PickConstraints& constraints) {
  CheckConstraints(constraints);
  return Picker(front, constraints).Pick();
}

}  // namespace kvtune
