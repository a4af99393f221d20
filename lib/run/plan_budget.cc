#include "lib/run/plan_budget.h"

#include <fmt/format.h>

#include <algorithm>

#include "lib/base/error.h"
#include "lib/base/quantity.h"
#include "lib/run/inspection.h"
#include "lib/run/model_session.h"
#include "lib/targets/target.h"

namespace kvtune {

ModelConfig ModelOfLayers(std::span<const LayerShape> layers) {
  ModelConfig model;
  for (const LayerShape& shape : layers) {
    LayerConfig layer;
    layer.kv_heads = shape.kv_heads;
    layer.key_head_dim = shape.key_head_dim;
    layer.value_head_dim = shape.value_head_dim;
    layer.window_tokens = shape.window_tokens;
    model.layers.push_back(layer);
  }
  return model;
}

MemoryBudget BudgetForModel(const MemoryOptions& options, const std::filesystem::path& model,
                            int64_t context) {
  double weight_bytes = 0;
  if (!options.weight_bytes) {
    const std::optional<StoredWeights> weights = WeightsOf(model);
    if (!weights) {
      throw Error(
          fmt::format("budgeting memory: found no weights in {}, expected them or "
                      "--weights-size SIZE",
                      model.string()));
    }
    weight_bytes = static_cast<double>(weights->bytes);
  }
  MemoryBudget budget = BudgetOf(options, weight_bytes, context);
  if (!budget.weights_fit()) {
    throw Error(
        fmt::format("budgeting memory: found weights of {} in a memory of {}, expected "
                    "them to fit (--weights-size SIZE: those of a quantized model)",
                    SizeText(budget.weight_bytes), budget.memory_name));
  }
  return budget;
}

void CountBytesAt(ParetoFront& front, int64_t context) {
  if (context == front.run.context) return;
  const Target target = TargetFor(FindTarget(front.run.target), front.run.layers);
  const CostFunction cost = CostFor(target, ModelOfLayers(front.run.layers), context);
  for (ScoredPlan* plan : AllPlans(front)) {
    const std::optional<double> latency_ms = plan->cost.latency_ms;  // of its own setting
    plan->cost = cost(plan->plan);
    plan->cost.latency_ms = latency_ms;
  }
  front.run.context = context;
}

}  // namespace kvtune
