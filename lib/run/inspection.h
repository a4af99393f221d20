// What a model is and what its KV cache costs, from its config.json and the headers of its weights
// alone.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "lib/core/memory_budget.h"
#include "lib/core/model_config.h"
#include "lib/core/model_size.h"
#include "lib/core/pareto_front.h"
#include "lib/run/run_options.h"

namespace kvtune {

// Context lengths at which the cache of one sequence is counted.
inline constexpr int64_t kInspectedContexts[] = {8192, 32768, 131072};

struct InspectOptions {
  std::filesystem::path model;  // a checkpoint directory or a config.json
  std::string target = RunInputs{}.target;
  int64_t context = RunInputs{}.context;
  MemoryOptions memory;
};

// What one way to store the cache costs.
struct CacheCost {
  ScoredPlan plan;  // named "exact", "KV4"; costs at the context that was asked for, no scores
  std::vector<double> bytes;  // of a whole sequence, by kInspectedContexts
};

struct StoredWeights {
  uint64_t bytes = 0;
  size_t shards = 0;
};

struct Inspection {
  std::string name;
  ModelConfig config;
  ModelSize size;
  std::optional<StoredWeights> weights;     // nullopt: only config.json is there
  std::optional<DeviceDescription> device;  // only where it was asked for
  std::optional<MemoryBudget> budget;       // of --memory, --gpu or the device's free memory
  std::vector<CacheCost> caches;            // the exact one first, then the target's pairs

  // As an engine has them: as they are stored, or in bfloat16 where they are not here.
  double served_bytes() const;
  double exact_bytes_per_token() const { return caches.front().plan.cost.bytes_per_token; }
};

// Throws Error. Without a device and without a memory, nothing in the result depends on the
// machine.
Inspection InspectModel(const InspectOptions& options, std::optional<DeviceDescription> device);

// The bytes of a checkpoint's weights as they are stored; nullopt without weight files.
std::optional<StoredWeights> WeightsOf(const std::filesystem::path& model);

}  // namespace kvtune
