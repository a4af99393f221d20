// What the gate knows of a plan on a set of prompts: enough per prompt to compare two plans prompt
// by prompt, and nothing else.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "lib/base/json_fields.h"

namespace kvtune {

enum class Metric { kKlMean, kKlP999, kTop1Agreement, kDeltaNll, kBytesPerToken };
inline constexpr Metric kMetrics[] = {Metric::kKlMean, Metric::kKlP999, Metric::kTop1Agreement,
                                      Metric::kDeltaNll, Metric::kBytesPerToken};

// "kl_mean", ...: the word of configs, baselines and results.
std::string_view MetricName(Metric metric);

// +1 where a higher value is worse, -1 for the top-1 agreement.
double WorseSign(Metric metric);

struct PromptMeasurement {
  int64_t tokens = 0;        // scored positions
  double kl_sum = 0;         // nats
  double delta_nll_sum = 0;  // nats, the plan's minus the exact model's
  int64_t top1_matches = 0;
  std::vector<float> kl_tail;  // the largest KLs of the prompt, largest first (TailLength)
};

struct Measurement {
  double bytes_per_token = 0;
  std::vector<PromptMeasurement> prompts;
};

// How many of each prompt's largest KLs the 99.9th percentile needs, whichever prompts a resample
// draws and however often: one in a thousand tokens of as many of the longest prompt.
size_t TailLength(std::span<const int64_t> tokens_of_prompts);

// `token_kl` in any order. Keeps the largest `tail` of them.
PromptMeasurement MeasurePrompt(std::span<const float> token_kl, double delta_nll,
                                int64_t top1_matches, size_t tail);

// Over the prompts `drawn`, which may repeat. REQUIRES: one token at least; not kBytesPerToken.
double ValueOver(const Measurement& measurement, Metric metric, std::span<const size_t> drawn);
// Over all prompts.
double ValueOf(const Measurement& measurement, Metric metric);

Json ToJson(const Measurement& measurement);
// Throws Error: no prompts, counts that cannot be, tails that are too short or not sorted.
Measurement MeasurementFromJson(JsonFields fields);

}  // namespace kvtune
