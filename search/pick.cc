#include "search/pick.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <map>
#include <tuple>
#include <utility>

#include "lib/base/error.h"
#include "lib/base/suggestion.h"

namespace kvtune {
namespace {

void CheckConstraints(const PickConstraints& constraints) {
  if (!constraints.max_loss && !constraints.max_bits && !constraints.max_bytes &&
      !constraints.max_milliseconds && !constraints.lossless && !constraints.like) {
    throw Error(
        "picking a plan: found no constraint, expected --max-loss, --max-bits, --max-bytes, "
        "--max-milliseconds, --like or --lossless",
        ExitCode::kUsage);
  }
  if (constraints.lossless && constraints.like) {
    throw Error("picking a plan: found --lossless and --like, expected one of the two",
                ExitCode::kUsage);
  }
  if (!(std::isfinite(constraints.margin) && constraints.margin >= 0)) {
    throw Error(fmt::format("picking a plan: found the margin {}, expected a number of 0 or more",
                            constraints.margin),
                ExitCode::kUsage);
  }
  for (const std::optional<double>& limit : {constraints.max_loss, constraints.max_bits,
                                             constraints.max_bytes, constraints.max_milliseconds}) {
    if (limit && !(std::isfinite(*limit) && *limit >= 0)) {
      throw Error(
          fmt::format("picking a plan: found the limit {}, expected a number of 0 or more", *limit),
          ExitCode::kUsage);
    }
  }
}

// The plan that the picked one shall be as good as; nullptr when none is asked for.
const ScoredPlan* ReferenceOf(const ParetoFront& front, const PickConstraints& constraints) {
  if (constraints.lossless) {
    if (const ScoredPlan* plan = EightBitPlan(front)) return plan;
    throw Error(
        "picking a lossless plan: found no uniform 8-bit plan in the front, expected the target's "
        "to compare with (--like PLAN names another)");
  }
  if (!constraints.like) return nullptr;
  if (const ScoredPlan* plan = FindPlan(front, *constraints.like)) return plan;
  for (const ScoredPlan* plan : AllPlans(front)) {
    if (PlanSpec(plan->plan) == *constraints.like) return plan;
  }
  std::vector<std::string> names;
  for (const ScoredPlan* plan : AllPlans(front)) names.push_back(plan->name);
  throw Error(
      fmt::format("picking a plan: found no plan \"{}\" among those measured in the run{}, "
                  "expected the name of one (--like; `kvtune pareto list` names them)",
                  *constraints.like, DidYouMean(*constraints.like, names)));
}

std::string ComparisonText(const PlanComparison& comparison) {
  if (!comparison.interval) return fmt::format("{:.3g} times the loss", comparison.ratio);
  return fmt::format("{:.3g} [{:.3g}, {:.3g}] times the loss", comparison.ratio,
                     comparison.interval->low, comparison.interval->high);
}

class Picker {
 public:
  Picker(const ParetoFront& front, const PickConstraints& constraints)
      : front_(front),
        constraints_(constraints),
        scores_(ComparableScores(front)),
        measured_(MeasuredPlans(front)),
        reference_(ReferenceOf(front, constraints)) {
    if (scores_ == ScoreSet::kHeldOut)
      std::erase_if(measured_, [](const ScoredPlan* plan) { return !plan->held_out; });
    if (measured_.empty()) throw Error("picking a plan: found an empty front, expected plans");
    if (constraints.max_milliseconds && !front.latency) {
      throw Error(
          "picking a plan: found --max-milliseconds for a run without times, expected one of "
          "`kvtune search --objective-latency`");
    }
    if (constraints.max_loss) max_loss_ = *constraints.max_loss;
    if (reference_ != nullptr) Compare();
  }

  PickedPlan Pick() const {
    std::vector<const ScoredPlan*> fitting;
    for (const ScoredPlan* plan : measured_) {
      if (Fits(*plan) && IsGood(*plan)) fitting.push_back(plan);
    }
    if (fitting.empty()) FailWithNearestMiss();
    const ScoredPlan* picked = *std::ranges::min_element(
        fitting, {}, [this](const ScoredPlan* plan) { return Preference(*plan); });
    PickedPlan result;
    result.plan = *picked;
    result.scores = scores_;
    result.reason = fmt::format("the {} of {} plans with {}", limits_loss() ? "cheapest" : "best",
                                measured_.size(), Wanted());
    if (reference_ != nullptr) AddComparison(*picked, result);
    if (!limits_loss()) {
      for (const ScoredPlan* plan : fitting) {
        if (plan != picked && Ties(*plan, *picked)) result.ties.push_back(plan->name);
      }
    }
    if (!result.ties.empty()) {
      result.reason += fmt::format("; by {} it cannot be told from {}", LossName(),
                                   fmt::join(result.ties, ", "));
    }
    return result;
  }

 private:
  bool limits_loss() const { return std::isfinite(max_loss_) || reference_ != nullptr; }

  double Loss(const ScoredPlan& plan) const { return LossOf(plan, scores_); }

  ComparisonOptions Options() const {
    return {.margin = constraints_.margin, .noise_floor = front_.run.noise_floor.value_or(0)};
  }

  void Compare() {
    if (scores_ != ScoreSet::kHeldOut) {
      throw Error(
          fmt::format("comparing plans with {}: found no held-out scores, expected them, since the "
                      "search chose the plans by the other prompts (kvtune search with --held-out "
                      "FILE or at least 8 --prompts)",
                      reference_->name));
    }
    std::vector<std::string> missing;
    for (const ScoredPlan* plan : measured_) {
      if (const auto comparison = ComparePlans(*plan, *reference_, Options())) {
        comparisons_.emplace(plan, *comparison);
      } else {
        missing.push_back(plan->name);
      }
    }
    if (missing.empty()) return;
    throw Error(
        fmt::format("comparing plans with {}: found no losses by prompt of {}, expected them in "
                    "the run's held_out.jsonl",
                    reference_->name, fmt::join(missing, ", ")));
  }

  bool IsGood(const ScoredPlan& plan) const {
    if (Loss(plan) > max_loss_) return false;
    if (reference_ == nullptr) return true;
    return comparisons_.at(&plan).standing == Standing::kAsGood;
  }

  bool Fits(const ScoredPlan& plan) const {
    return FitsInBytes(plan) && !(constraints_.max_milliseconds &&
                                  plan.cost.latency_ms > *constraints_.max_milliseconds);
  }
  bool FitsInBytes(const ScoredPlan& plan) const {
    return !(constraints_.max_bits && plan.cost.effective_bits > *constraints_.max_bits) &&
           !(constraints_.max_bytes && plan.cost.bytes_per_token > *constraints_.max_bytes);
  }

  // Whether a plan loses several times as much where no interval can be claimed: it is no
  // candidate.
  static bool IsFarAbove(const PlanComparison& comparison) {
    constexpr double kLargestUndecidedRatio = 2;
    return !comparison.interval && comparison.ratio > kLargestUndecidedRatio;
  }

  // Whether the losses cannot be told apart, by the prompts where they are known and by the
  // rounding otherwise.
  bool Ties(const ScoredPlan& plan, const ScoredPlan& picked) const {
    if (const auto comparison = ComparePlans(plan, picked, Options())) {
      return comparison->standing != Standing::kWorse && !IsFarAbove(*comparison);
    }
    return Loss(plan) - Loss(picked) <= front_.run.noise_floor.value_or(0);
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
    if (reference_ != nullptr) {
      wanted.push_back(
          fmt::format("a {} as good as that of {} (at most {:.3g} times it, with 95 % "
                      "confidence)",
                      LossName(), reference_->name, 1 + constraints_.margin));
    }
    if (std::isfinite(max_loss_)) {
      wanted.push_back(
          fmt::format("a {} of at most {:.4g} {}", LossName(), max_loss_, Describe().unit));
    }
    if (constraints_.max_bits) {
      wanted.push_back(fmt::format("at most {:.6g} effective bits", *constraints_.max_bits));
    }
    if (constraints_.max_bytes) {
      wanted.push_back(fmt::format("at most {:.6g} bytes per token", *constraints_.max_bytes));
    }
    if (constraints_.max_milliseconds) {
      wanted.push_back(
          fmt::format("at most {:.6g} ms of attention", *constraints_.max_milliseconds));
    }
    return fmt::format("{}", fmt::join(wanted, " and "));
  }

  // Adds how the picked plan compares, and which smaller plan more prompts might allow.
  void AddComparison(const ScoredPlan& picked, PickedPlan& result) const {
    result.reference = reference_->name;
    result.comparison = comparisons_.at(&picked);
    if (picked.plan != reference_->plan) {
      result.reason += fmt::format("; {} of {}, worse on {} of {} prompts",
                                   ComparisonText(*result.comparison), reference_->name,
                                   result.comparison->worse_prompts, result.comparison->prompts);
    }
    const ScoredPlan* open = BestUndecided(picked.cost.bytes_per_token);
    if (open == nullptr) return;
    result.undecided = open->name;
    result.undecided_comparison = comparisons_.at(open);
    result.reason += fmt::format("; not decided: {}", UndecidedText(*open));
  }

  // Of the fitting plans below `bytes` that may be as good but are not shown to be, the one whose
  // loss is nearest to the reference's.
  const ScoredPlan* BestUndecided(double bytes) const {
    const ScoredPlan* best = nullptr;
    for (const ScoredPlan* plan : measured_) {
      const Standing standing = comparisons_.at(plan).standing;
      if (!Fits(*plan) || plan->cost.bytes_per_token >= bytes || Loss(*plan) > max_loss_) continue;
      if (standing != Standing::kTie && standing != Standing::kUndecided) continue;
      const PlanComparison& comparison = comparisons_.at(plan);
      if (IsFarAbove(comparison)) continue;
      if (best == nullptr || comparison.ratio < comparisons_.at(best).ratio) best = plan;
    }
    return best;
  }

  std::string UndecidedText(const ScoredPlan& plan) const {
    const PlanComparison& comparison = comparisons_.at(&plan);
    std::string text =
        fmt::format("{} has {} of {} on {} prompts", plan.name, ComparisonText(comparison),
                    reference_->name, comparison.prompts);
    if (comparison.prompts_to_decide)
      text += fmt::format(", and about {} prompts like these would decide",
                          *comparison.prompts_to_decide);
    return text;
  }

  // The nearest miss is the plan with the smallest loss among those that fit, or the fastest of
  // those that fit but for their time, or the smallest plan when there is none of these either.
  [[noreturn]] void FailWithNearestMiss() const {
    const auto order = [this](const ScoredPlan* plan) {
      if (Fits(*plan)) return std::tuple(0, Loss(*plan), plan->cost.bytes_per_token);
      // Where only the time is too long, the fastest plan is nearest.
      const bool is_time = constraints_.max_milliseconds && FitsInBytes(*plan);
      return is_time ? std::tuple(1, *plan->cost.latency_ms, Loss(*plan))
                     : std::tuple(2, plan->cost.bytes_per_token, Loss(*plan));
    };
    const ScoredPlan& nearest = **std::ranges::min_element(measured_, {}, order);
    std::string message = fmt::format(
        "picking a plan: found none among {} with {}; the nearest is {} with a {} of {:.4g} {} at "
        "{:.4g} effective bits and {} bytes per token",
        measured_.size(), Wanted(), nearest.name, LossName(), Loss(nearest), Describe().unit,
        nearest.cost.effective_bits, nearest.cost.bytes_per_token);
    if (constraints_.max_milliseconds)
      message += fmt::format(", {:.6g} ms of attention", *nearest.cost.latency_ms);
    if (reference_ != nullptr) {
      const ScoredPlan* open = BestUndecided(std::numeric_limits<double>::infinity());
      if (open != nullptr) message += "; not decided: " + UndecidedText(*open);
    }
    throw Error(message);
  }

  const ParetoFront& front_;
  const PickConstraints& constraints_;
  const ScoreSet scores_;
  std::vector<const ScoredPlan*> measured_;
  const ScoredPlan* reference_;
  std::map<const ScoredPlan*, PlanComparison> comparisons_;  // with the reference
  double max_loss_ = std::numeric_limits<double>::infinity();
};

}  // namespace

std::vector<const ScoredPlan*> MeasuredPlans(const ParetoFront& front) {
  std::vector<const ScoredPlan*> measured;
  for (const ScoredPlan* plan : AllPlans(front)) {
    const bool known = std::ranges::any_of(
        measured, [&](const ScoredPlan* other) { return other->plan == plan->plan; });
    if (!known && !plan->plan.is_exact()) measured.push_back(plan);
  }
  std::ranges::stable_sort(measured, std::greater<>(),
                           [](const ScoredPlan* plan) { return plan->cost.bytes_per_token; });
  return measured;
}

const ScoredPlan* EightBitPlan(const ParetoFront& front) {
  const ScoredPlan* first = nullptr;
  for (const ScoredPlan& plan : front.uniform) {
    // Engines may keep some layers exact beside a pair.
    const auto quantized = std::ranges::find_if(
        plan.plan.layers, [](PrecisionPair pair) { return pair != kExactPair; });
    if (quantized == plan.plan.layers.end()) continue;
    if (*quantized == PrecisionPair{KvFormatId::kFp8E4m3, KvFormatId::kFp8E4m3}) return &plan;
    const bool eight = FormatOf(quantized->key).bits == 8 && FormatOf(quantized->value).bits == 8;
    if (eight && first == nullptr) first = &plan;
  }
  return first;
}

PickedPlan PickPlan(const ParetoFront& front, const PickConstraints& constraints) {
  CheckConstraints(constraints);
  return Picker(front, constraints).Pick();
}

}  // namespace kvtune
