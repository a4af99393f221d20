// The memory budget of a run's plans: how many bytes per token they may take so that the weights of
// the run's model and the cache fit.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>

#include "lib/core/layer_shape.h"
#include "lib/core/memory_budget.h"
#include "lib/core/model_config.h"
#include "lib/core/pareto_front.h"

namespace kvtune {

// The budget for the weights of the checkpoint `model`, or those that the options name. Throws
// Error (kUsage) as BudgetOf, and Error when no weights are known and when they alone do not fit.
MemoryBudget BudgetForModel(const MemoryOptions& options, const std::filesystem::path& model,
                            int64_t context);

// A model of which only the layers' caches are known; costs depend on nothing else.
ModelConfig ModelOfLayers(std::span<const LayerShape> layers);

// Counts the costs of all plans of the front anew at another context. Bytes per token depend on it
// where layers have sliding windows and where the newest tokens are kept exactly.
void CountBytesAt(ParetoFront& front, int64_t context);

}  // namespace kvtune
