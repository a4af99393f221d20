// What decode steps take on a device: the time of attention for every precision pair in every kind
// of layer, and of whole steps under some plans. `kvtune bench` measures it and writes
// latency.json.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "lib/base/json_fields.h"
#include "lib/core/layer_shape.h"
#include "lib/core/precision_plan.h"

namespace kvtune {

// Milliseconds: the median of several measurements, and the lowest and highest of them.
struct Timing {
  double median = 0;
  double lowest = 0;
  double highest = 0;
  friend bool operator==(const Timing&, const Timing&) = default;
};

// The median, lowest and highest of measurements. REQUIRES: there is one.
Timing TimingOf(std::vector<double> milliseconds);

// How many sequences are decoded together, and how many tokens each has in its cache.
struct DecodeSetting {
  int64_t batch = 1;
  int64_t context_tokens = 0;
  friend bool operator==(const DecodeSetting&, const DecodeSetting&) = default;
};

// One layer's attention in a decode step: reading the cache, without what stores the new tokens.
struct PairLatency {
  size_t layer = 0;  // the first layer of this shape; all others of the shape take the same time
  PrecisionPair pair;
  Timing attention;
  int64_t bytes = 0;  // of the cache that a step reads
};

// A whole step: all layers with their projections, and the head.
struct StepLatency {
  std::string name;  // "KV8", "p07"
  PrecisionPlan plan;
  Timing step;
  double attention = 0;       // milliseconds of it in all layers, from the pairs
  int64_t cache_bytes = 0;    // of all sequences, as the allocator gives them
  int64_t largest_batch = 0;  // that fits into the device's memory at this context
  // Of all sequences, as plans are compared by them (CostOf in lib/targets/target.h); what the
  // allocator gives more is the rest of last pages and places for windows. nullopt in files of
  // earlier versions.
  std::optional<int64_t> counted_bytes = std::nullopt;
};

struct SettingLatency {
  DecodeSetting setting;
  std::vector<PairLatency> pairs;
  std::vector<StepLatency> steps;  // empty where only attention was measured
};

struct LatencyTable {
  std::string device;  // "NVIDIA H200"
  std::string model;
  double copy_bytes_per_second = 0;  // of a copy on the device, reads and writes together
  std::vector<LayerShape> layers;    // of the model
  std::vector<SettingLatency> settings;
  // Of the model; nullopt in files of earlier versions.
  std::optional<int64_t> query_heads = std::nullopt;
};

Json ToJson(const LatencyTable& table);
LatencyTable LatencyTableFromJson(const Json& json, const std::string& source);

}  // namespace kvtune
