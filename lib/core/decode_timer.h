// A device that can time decode steps over a packed cache. The runner is one; the stage that asks
// it (lib/run/decode_bench.h) is tested with another.
#pragma once

#include <cstdint>
#include <string>

#include "lib/core/latency_table.h"
#include "lib/core/precision_plan.h"

namespace kvtune {

// Attention of one layer, as it was measured.
struct TimedAttention {
  Timing time;
  int64_t bytes = 0;  // of the cache that a step reads
};

struct TimedStep {
  Timing time;
  int64_t cache_bytes = 0;  // that the allocator gave for the caches of all layers
};

class DecodeTimer {
 public:
  virtual ~DecodeTimer() = default;

  virtual std::string device_name() const = 0;
  // Reads and writes of a copy on the device, bytes per second.
  virtual double CopyBandwidth() = 0;
  // What caches may take: the device's memory without weights and activations.
  virtual int64_t CacheMemory() = 0;
  // Why the layer's cache cannot be packed under the pair; empty when it can.
  virtual std::string WhyNot(size_t layer, PrecisionPair pair) const = 0;
  // Throws Error where the caches of the setting do not fit.
  virtual TimedAttention TimeAttention(size_t layer, PrecisionPair pair,
                                       const DecodeSetting& setting) = 0;
  virtual TimedStep TimeStep(const PrecisionPlan& plan, const DecodeSetting& setting) = 0;
  // The bytes that the caches of a plan take for sequences of so many tokens.
  virtual int64_t CacheBytes(const PrecisionPlan& plan, const DecodeSetting& setting) const = 0;
};

}  // namespace kvtune
