// Whether a plan got worse: a paired test over prompts.
//
// Two noisy means say little about each other; the change prompt by prompt says much. The interval
// of a change is a percentile bootstrap over prompts (Efron and Tibshirani 1993, ch. 13) of after -
// before, both over the same drawn prompts. Identical measurements have the interval [0, 0].
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string_view>
#include <vector>

#include "lib/base/statistics.h"
#include "lib/gate/measurement.h"

namespace kvtune {

// Fewer prompts make an interval that is too narrow to rely on.
inline constexpr size_t kFewestPrompts = 5;

struct Limits {
  std::map<Metric, double> absolute;   // highest value; of the top-1 agreement the lowest
  std::map<Metric, double> relative;   // share of the baseline's value by which it may rise
  std::map<Metric, double> tolerance;  // in the metric's unit, added to the share
};

// What holds where a config says nothing: room for the rounding of other devices and libraries.
double DefaultRelative(Metric metric);
double DefaultTolerance(Metric metric);

enum class Outcome {
  kSame,             // the same in every prompt
  kWithinTolerance,  // changed by no more than is allowed
  kExplained,        // changed by more, but the interval reaches what is allowed
  kBetter,           // and the interval does not explain it
  kWorse,            // and the interval does not explain it: fails
  kOverLimit,        // beyond the absolute limit: fails
  kUnclear,  // beyond it in another type than the baseline's, which may be rounding: not judged
  kNotComparable  // measured, but not against this baseline
};

// "same", "within tolerance", ...
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
};

// Whether both were computed in one data type. If not, only the mean KL and the bytes are compared:
// of the other metrics it is not known what rounding does to them.
enum class TypeComparison { kSame, kOther };

struct VerdictOptions {
  Limits limits;
  double confidence = 0.99;
  int resamples = 2000;
  uint64_t seed = 0;
  double rounding = 0;  // nats of mean KL that rounding alone may make, allowed on top
  TypeComparison types = TypeComparison::kSame;
};

// One verdict a metric, in the order of kMetrics.
// REQUIRES: the same prompts in both, so the same tokens; kFewestPrompts at least.
std::vector<MetricVerdict> Judge(const Measurement& before, const Measurement& after,
                                 const VerdictOptions& options);

// The absolute limits alone: before = after.
std::vector<MetricVerdict> JudgeLimits(const Measurement& after, const Limits& limits);

}  // namespace kvtune
