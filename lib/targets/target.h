// A target is a serving engine's KV cache as kvtune sees it: which formats exist, what they cost in
// bytes, and how a plan is written down. One file per target; this header is all that others see.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "lib/core/model_config.h"
#include "lib/core/pareto_front.h"
#include "lib/core/precision_plan.h"

namespace kvtune {

struct Target {
  std::string_view name;         // "kvtuner"
  std::string_view description;  // one line
  std::string_view shape;        // which plans it can express, one line
  std::string_view exports;      // formats of `pareto export`, one line
  std::vector<PrecisionPair> pairs;  // every pair a layer may take, most bits first
};

// All targets, in the order in which `kvtune targets` lists them.
std::span<const Target> Targets();

// Throws Error (kUsage) naming the targets that exist.
const Target& FindTarget(std::string_view name);

// Costs of a plan at a context of `context_tokens`: data, scales, zeros and the residual window's
// exact tokens; layers with a sliding window hold no more tokens than that. Bits are weighted by the
// width of each layer and side. REQUIRES: plan.layers.size() == model.layer_count(),
// context_tokens > 0.
PlanCost CostOf(const PrecisionPlan& plan, const ModelConfig& model, int64_t context_tokens);

// A plan as text in the format `format` of `pareto export`. Throws Error (kUsage) for an unknown
// format, Error when the format cannot express the plan, with the reason.
std::string ExportPlan(const ScoredPlan& plan, const ParetoFront& front, std::string_view format);

// The inverse: reads any exported format, told apart by content. Throws Error.
PrecisionPlan ImportPlan(std::string_view content, const std::string& source, size_t layer_count,
                         const Target& target);

}  // namespace kvtune
