// Decides whether a plan got worse, by a paired test over prompts.
//
// Comparing two noisy means tells little, but the change prompt by prompt tells much. The interval
// of a change of the mean KL is that of the ratio of both losses, by which plans are compared
// elsewhere too (lib/base/ratio_interval.h, lib/core/plan_comparison.h), or that of their
// difference where it is narrower; other means have the interval of their difference. The change of
// a percentile has a percentile bootstrap over prompts (Efron and Tibshirani 1993, ch. 13).
// Identical measurements have the interval [0, 0].
//
// Answers to a task are compared item by item: only items that flipped say anything. The interval
// of the accuracy's change leaves out 0 only where McNemar's exact test rejects too
// (lib/tasks/paired.h), so that a handful of flips by chance cannot fail a plan.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string_view>
#include <vector>

#include "lib/base/statistics.h"
#include "lib/base/words.h"
#include "lib/gate/measurement.h"
#include "lib/tasks/paired.h"

namespace kvtune {

// With fewer prompts the interval is too narrow to rely on.
inline constexpr size_t kFewestPrompts = 5;

struct Limits {
  // The highest value; for the top-1 agreement and the accuracy the lowest.
  std::map<Metric, double> absolute;
  std::map<Metric, double> relative;   // share of the baseline's value by which it may rise
  std::map<Metric, double> tolerance;  // in the metric's unit, added to the share
};

// The limits that hold where a config sets none. They leave room for the rounding of other devices
// and libraries.
double DefaultRelative(Metric metric);
double DefaultTolerance(Metric metric);

enum class Outcome {
  kSame,             // the same in every prompt
  kWithinTolerance,  // changed by no more than is allowed
  kExplained,        // changed by more, but the interval includes an allowed change
  kBetter,           // better, and the whole interval is beyond what is allowed
  kWorse,            // worse, and the whole interval is beyond what is allowed: fails
  kOverLimit,        // beyond the absolute limit: fails
  // Beyond the absolute limit, but computed in another data type than the baseline, so that
  // rounding may be the cause: not judged.
  kUnclear,
  kNotComparable  // measured, but not against this baseline
};

// The outcome in words: "same", "within tolerance", ...
std::string_view OutcomeName(Outcome outcome);
bool Fails(Outcome outcome);

struct MetricVerdict {
  Metric metric = Metric::kKlMean;
  double before = 0;
  double after = 0;
  Interval change;     // of after - before
  double allowed = 0;  // how far it may get worse, >= 0
  std::optional<double> limit;
  Outcome outcome = Outcome::kSame;
  std::optional<Flips> flips = std::nullopt;  // of answers; the accuracy only
};

// What the answers to a task are compared with.
enum class AnswerReference {
  kBaseline,  // the answers of the plan when it was accepted
  kExact,     // the answers of the same model with an exact cache, in the same run
};
inline constexpr Word<AnswerReference> kAnswerReferenceWords[] = {
    {"baseline", AnswerReference::kBaseline}, {"exact", AnswerReference::kExact}};

// Whether both measurements were computed in the same data type. If not, only the mean KL and the
// bytes are compared, because it is not known what rounding does to the other metrics.
enum class TypeComparison { kSame, kOther };

struct VerdictOptions {
  Limits limits;
  double confidence = 0.99;
  int resamples = 2000;
  uint64_t seed = 0;
  double rounding = 0;  // nats of mean KL that rounding alone may cause; allowed in addition
  TypeComparison types = TypeComparison::kSame;
  // The exact model answers in the same data type, so that its answers are always compared.
  AnswerReference answers = AnswerReference::kBaseline;
};

// One verdict for each metric of `after`, in the order of kMetrics. REQUIRES: both were measured on
// the same prompts and items, so they have the same tokens and as many answers; there are at least
// kFewestPrompts prompts.
std::vector<MetricVerdict> Judge(const Measurement& before, const Measurement& after,
                                 const VerdictOptions& options);

// The verdict on the accuracy alone.
MetricVerdict JudgeAnswers(const Measurement& before, const Measurement& after,
                           const VerdictOptions& options);

// Judges by the absolute limits alone; in each verdict before = after.
std::vector<MetricVerdict> JudgeLimits(const Measurement& after, const Limits& limits);

}  // namespace kvtune
