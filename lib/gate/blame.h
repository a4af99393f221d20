// Which layer explains best that a plan got worse: the plan is scored again with one layer at a
// time stored as the baseline stored it, or exactly, and the largest drop is named.
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

// Towards the baseline for every layer that differs from it; then towards exact for every layer
// that is not. REQUIRES: equal layer counts.
std::vector<Replacement> ReplacementsOf(const PrecisionPlan& plan, const PrecisionPlan& baseline);

struct Blame {
  size_t layer = 0;
  Toward toward = Toward::kExact;
  std::string pair;         // what the layer has now, "KV2"
  std::string replacement;  // what it had or "exact"
  Metric metric = Metric::kKlMean;
  double after = 0;     // the plan's value
  double replaced = 0;  // its value with this layer replaced
};

// A plan that differs from the baseline is explained by what differs: exact layers are only asked
// where no layer of the baseline makes it better. nullopt when nothing does.
// REQUIRES: measurements[i] is of replacements[i].
std::optional<Blame> BestExplanation(const PrecisionPlan& plan, const Measurement& measured,
                                     std::span<const Replacement> replacements,
                                     std::span<const Measurement> measurements, Metric metric);

}  // namespace kvtune
