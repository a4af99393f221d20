// What `kvtune bench` measures: attention over the packed cache for every pair, and decode steps of
// whole plans.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "lib/core/decode_timer.h"
#include "lib/core/latency_table.h"
#include "lib/core/model_config.h"
#include "lib/core/precision_plan.h"

namespace kvtune {

struct DecodeBench {
  std::vector<NamedPlan> plans;
  // Timed in every kind of layer, beside the pairs of the plans.
  std::vector<PrecisionPair> pairs;
  std::vector<DecodeSetting> settings;
  bool whole_steps = true;
  // The bytes of a plan's cache of one sequence of so many tokens, as plans are compared by them;
  // may be empty.
  std::function<double(const PrecisionPlan&, int64_t tokens)> counted_bytes = nullptr;
};

// The plans that others are compared with, where the model's cache can be packed so: bf16 (exact),
// FP8, and the 8- and 4-bit uniform plans of the pairs.
std::vector<NamedPlan> ReferencePlans(const ModelConfig& config, const DecodeTimer& timer,
                                      const std::vector<PrecisionPair>& pairs);

// Times everything, settings one after another. A plan whose caches do not fit into the device
// is left out, with a message to `skipped`. `progress` gets a line before each part. Throws Error
// where a plan cannot be packed at all, and where one layer's caches of a pair do not fit.
LatencyTable MeasureDecoding(const DecodeBench& bench, const ModelConfig& config,
                             const std::string& model, DecodeTimer& timer,
                             const std::function<void(std::string_view)>& progress,
                             const std::function<void(std::string_view)>& skipped);

}  // namespace kvtune
