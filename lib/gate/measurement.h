// What the gate keeps of a plan's scores on a set of prompts: just enough of each prompt to compare
// two plans prompt by prompt.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "lib/base/json_fields.h"
#include "lib/core/plan_score.h"

namespace kvtune {

enum class Metric { kKlMean, kKlP999, kTop1Agreement, kDeltaNll, kBytesPerToken, kAccuracy };
inline constexpr Metric kMetrics[] = {Metric::kKlMean,        Metric::kKlP999,
                                      Metric::kTop1Agreement, Metric::kDeltaNll,
                                      Metric::kBytesPerToken, Metric::kAccuracy};

// The word for a metric in configs, baselines and results, for example "kl_mean".
std::string_view MetricName(Metric metric);

// +1 for metrics whose higher value is worse, -1 for the top-1 agreement and the accuracy.
double WorseSign(Metric metric);

struct Measurement {
  double bytes_per_token = 0;
  // The token_kl of each prompt holds only its largest KLs, largest first (TailLength).
  std::vector<PromptScore> prompts;
  // Whether each item of a task was answered right; empty where there is no task.
  std::vector<char> answers = {};
};

// The metrics that the measurement has: all but the accuracy where there is no task.
std::vector<Metric> MetricsOf(const Measurement& measurement);

// How many of each prompt's largest KLs have to be kept for the 99.9th percentile. A resample draws
// any prompts any number of times, so in the worst case all its prompts are the longest one, and
// one in a thousand of all their tokens counts.
size_t TailLength(std::span<const int64_t> tokens_of_prompts);

// The score with only the `tail` largest values of its token_kl, largest first. The values given
// may be in any order.
PromptScore WithTailOnly(PromptScore score, size_t tail);

// The metric's value over the prompts `drawn`, which may repeat. REQUIRES: the prompts have at
// least one token; the metric is one of tokens, so neither kBytesPerToken nor kAccuracy.
double ValueOver(const Measurement& measurement, Metric metric, std::span<const size_t> drawn);
// The metric's value over all prompts, or over all items. REQUIRES: the measurement has it.
double ValueOf(const Measurement& measurement, Metric metric);

Json ToJson(const Measurement& measurement);
// Throws Error when there are no prompts, for counts that are impossible, and for tails that are
// too short or not sorted, and for answers that are no verdicts.
Measurement MeasurementFromJson(JsonFields fields);

}  // namespace kvtune
