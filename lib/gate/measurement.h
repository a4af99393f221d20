// What the gate knows of a plan on a set of prompts: enough per prompt to compare two plans prompt
// by prompt, and nothing else.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "lib/base/json_fields.h"
#include "lib/core/plan_score.h"

namespace kvtune {

enum class Metric { kKlMean, kKlP999, kTop1Agreement, kDeltaNll, kBytesPerToken };
inline constexpr Metric kMetrics[] = {Metric::kKlMean, Metric::kKlP999, Metric::kTop1Agreement,
                                      Metric::kDeltaNll, Metric::kBytesPerToken};

// "kl_mean", ...: the word of configs, baselines and results.
std::string_view MetricName(Metric metric);

// +1 where a higher value is worse, -1 for the top-1 agreement.
double WorseSign(Metric metric);

struct Measurement {
  double bytes_per_token = 0;
  // Their token_kl holds the largest KLs only, largest first (TailLength).
  std::vector<PromptScore> prompts;
};

// How many of each prompt's largest KLs the 99.9th percentile needs, whichever prompts a resample
// draws and however often: one in a thousand tokens of as many of the longest prompt.
size_t TailLength(std::span<const int64_t> tokens_of_prompts);

// Keeps the largest `tail` of the prompt's token_kl, which may be in any order, largest first.
PromptScore WithTailOnly(PromptScore score, size_t tail);

// Over the prompts `drawn`, which may repeat. REQUIRES: one token at least; not kBytesPerToken.
double ValueOver(const Measurement& measurement, Metric metric, std::span<const size_t> drawn);
// Over all prompts.
double ValueOf(const Measurement& measurement, Metric metric);

Json ToJson(const Measurement& measurement);
// Throws Error: no prompts, counts that cannot be, tails that are too short or not sorted.
Measurement MeasurementFromJson(JsonFields fields);

}  // namespace kvtune
