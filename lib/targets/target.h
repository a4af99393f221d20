// A target is a serving engine's KV cache as kvtune sees it: which formats exist, which plans it
// can run, what they cost in bytes, and how a plan is written down. One file per target; this
// header is all that others see.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "lib/core/layer_shape.h"
#include "lib/core/model_config.h"
#include "lib/core/pareto_front.h"
#include "lib/core/plan_shape.h"
#include "lib/core/precision_plan.h"

namespace kvtune {

// One format of `pareto export`.
struct ExportSummary {
  std::string_view name;         // "vllm"
  std::string_view description;  // "arguments of vllm serve"
};

struct Target {
  std::string_view name;             // "kvtuner"
  std::string_view description;      // one line
  PlanShape shape;                   // which plans it can run
  std::vector<PrecisionPair> pairs;  // of them those that the search tries, most bits first
  std::string_view pending = {};     // what of it waits upstream, one line; empty: nothing
  // Whether the engine gives all layers' pages one size, so that small layers of a hybrid model may
  // be padded to large ones.
  bool pads_pages = false;
  // Whether layers with a sliding window drop the tokens behind it.
  bool drops_old_tokens = true;
  std::vector<ExportSummary> exports = {};
  // Of the model that the target was fitted to (TargetFor); empty: none. Readers of plan files ask
  // them where an engine names layers by their kind.
  std::vector<LayerShape> layers = {};
};

// All targets, in the order in which `kvtune targets` lists them.
std::span<const Target> Targets();

// Throws Error (kUsage) naming the targets that exist.
const Target& FindTarget(std::string_view name);

// The target with the pairs that it can store of a model of such layers (an engine's blocks have to
// fit the heads). Throws Error with the reason when none is left.
Target TargetFor(const Target& target, std::span<const LayerShape> layers);
Target TargetFor(const Target& target, const ModelConfig& model);

// The formats that the pairs of the target's shape use for one side, each once, in order.
std::vector<KvFormatId> FormatsOf(const Target& target, KvSide side);

// Throws Error when a layer uses a format that is neither exact nor the target's. Other plans than
// the target can run may be scored; whether they can be exported is up to the export format.
// `source` names the plan in the message.
void RequireFormatsOf(const Target& target, const PrecisionPlan& plan, const std::string& source);

// Costs of a plan at a context of `context_tokens`: data, scales, zeros and the residual window's
// exact tokens; where the engine drops old tokens, layers with a sliding window hold no more than
// that. Bits are weighted by the width of each layer and side. REQUIRES: plan.layers.size() ==
// model.layer_count(), context_tokens > 0.
PlanCost CostOf(const Target& target, const PrecisionPlan& plan, const ModelConfig& model,
                int64_t context_tokens);

// What page padding can take away of a plan's saving: bytes per token when every layer's pages are
// as large as the plan's largest. nullopt where the engine or the model gives no cause: pages of
// one size, or no sliding windows.
std::optional<double> PaddedBytesPerToken(const Target& target, const PrecisionPlan& plan,
                                          const ModelConfig& model, int64_t context_tokens);

// Why `format` cannot express the plan, with the nearest plan that it can.
struct Misfit {
  std::string reason;
  PrecisionPlan nearest;
};
// Throws Error (kUsage) for an unknown format.
std::optional<Misfit> FindMisfit(const PrecisionPlan& plan, const Target& target,
                                 std::string_view format);

// A plan as text in the format `format` of `pareto export`. Throws Error (kUsage) for an unknown
// format, Error when the format cannot express the plan, with the reason.
std::string ExportPlan(const ScoredPlan& plan, const ParetoFront& front, std::string_view format);

// The inverse: reads any exported format, told apart by content. Throws Error, also for a text that
// holds no word about the cache: it says nothing about a plan, not that all layers are exact.
PrecisionPlan ImportPlan(std::string_view content, const std::string& source, size_t layer_count,
                         const Target& target);

}  // namespace kvtune
