// Finds the layer that explains best why a plan got worse. The plan is scored again and again with
// one layer replaced, stored as in the baseline or exactly; the layer whose replacement makes the
// metric fall most is named.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "lib/core/precision_plan.h"
#include "lib/gate/measurement.h"

namespace kvtune {

enum class Toward { kBaseline, kExact };

// A plan with one layer replaced.
struct Replacement {
  size_t layer = 0;
  Toward toward = Toward::kExact;
  PrecisionPlan plan;
};

// The plans to score: first one for every layer that differs from the baseline, stored as there;
// then one for every layer that is not exact, stored exactly. REQUIRES: equal layer counts.
std::vector<Replacement> ReplacementsOf(const PrecisionPlan& plan, const PrecisionPlan& baseline);

struct Blame {
  size_t layer = 0;
  Toward toward = Toward::kExact;
  std::string pair;         // what the layer has now, "KV2"
  std::string replacement;  // what it had in the baseline, or "exact"
  Metric metric = Metric::kKlMean;
  double after = 0;     // the plan's value
  double replaced = 0;  // its value with this layer replaced
};

// The replacement that improves the metric most; nullopt when none improves it. What differs from
// the baseline is the first suspect, so exact layers are considered only when no layer stored as in
// the baseline improves the metric. REQUIRES: measurements[i] is of replacements[i].
std::optional<Blame> BestExplanation(const PrecisionPlan& plan, const Measurement& measured,
                                     std::span<const Replacement> replacements,
                                     std::span<const Measurement> measurements, Metric metric);

}  // namespace kvtune
