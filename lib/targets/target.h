// A target is a serving engine's KV cache as kvtune sees it: which formats exist, which plans it
// can run, what they cost in bytes, and how a plan is written down. Every target has one file;
// other folders see this header alone.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "lib/core/cache_maxima.h"
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
  std::vector<PrecisionPair> pairs;  // those that the search tries, most bits first
  std::string_view pending = {};     // what released engines cannot do yet, one line; may be empty
  // Whether the engine gives the pages of all layers one size, so that small layers of a model with
  // sliding windows may be padded to the size of large ones.
  bool pads_pages = false;
  // Whether layers with a sliding window drop the tokens behind it.
  bool drops_old_tokens = true;
  std::vector<ExportSummary> exports = {};
  // The layers of the model that the target was fitted to (TargetFor); empty when it was not.
  // Readers of plan files need them where an engine names layers by their kind.
  std::vector<LayerShape> layers = {};
  // Where the static scales of its formats come from (WithStoredScales).
  CacheScales scales = CacheScales::kCalibrated;
};

// All targets, in the order in which `kvtune targets` lists them.
std::span<const Target> Targets();

// Finds a target by its name. Throws Error (kUsage) naming the targets that exist.
const Target& FindTarget(std::string_view name);

// The target with only those pairs that the engine can store in a model of such layers; an engine's
// blocks have to fit the heads. Throws Error with the reason when no pair is left.
Target TargetFor(const Target& target, std::span<const LayerShape> layers);
Target TargetFor(const Target& target, const ModelConfig& model);

// The target as an engine runs it with a checkpoint that stores scales of the KV cache: where a
// format has one row with unit scales and one with other static scales, the engine uses the stored
// ones, so the search tries no unit scales. Throws Error (kUsage) when no format of the target has
// static scales.
Target WithStoredScales(Target target);
// The plan with stored scales in place of unit scales where `target` comes from WithStoredScales,
// because an engine's word for the format ("fp8") then means those. Otherwise the plan itself.
PrecisionPlan WithScalesOf(const Target& target, PrecisionPlan plan);

// The formats that the pairs of the target's shape use for one side, each once, in the order of the
// pairs.
std::vector<KvFormatId> FormatsOf(const Target& target, KvSide side);

// Throws Error when a layer uses a format that is neither exact nor the target's. Only formats are
// checked and not the shape, because plans that the target cannot run may be scored too; whether
// they can be exported is up to the export format. `source` names the plan in the message.
void RequireFormatsOf(const Target& target, const PrecisionPlan& plan, const std::string& source);

// The costs of a plan at a context of `context_tokens`. Bytes include data, scales, zeros and the
// exact tokens of the residual window; where the engine drops old tokens, layers with a sliding
// window hold no more tokens than the window. Effective bits are weighted by the width of each
// layer and side. REQUIRES: plan.layers.size() == model.layer_count(), context_tokens > 0.
PlanCost CostOf(const Target& target, const PrecisionPlan& plan, const ModelConfig& model,
                int64_t context_tokens);

// The bytes per token when the pages of every layer are as large as the plan's largest ones: the
// most that page padding can take away from a plan's saving. nullopt when nothing is padded,
// because the engine does not give all pages one size or the model has no sliding windows.
std::optional<double> PaddedBytesPerToken(const Target& target, const PrecisionPlan& plan,
                                          const ModelConfig& model, int64_t context_tokens);

// Why an export format cannot express a plan, and the nearest plan that it can express.
struct Misfit {
  std::string reason;
  PrecisionPlan nearest;
};
// Why the plan cannot be exported in `format`; nullopt when it can. Throws Error (kUsage) for an
// unknown format.
std::optional<Misfit> FindMisfit(const PrecisionPlan& plan, const Target& target,
                                 std::string_view format);

// A plan as text in the format `format` of `pareto export`. Throws Error (kUsage) for an unknown
// format, and Error with the reason when the format cannot express the plan.
std::string ExportPlan(const ScoredPlan& plan, const ParetoFront& front, std::string_view format);

// The inverse: reads a text of any of the target's export formats, which are told apart by their
// content. Throws Error, also for a text that holds no word about the cache, because such a text
// says nothing about a plan; it does not say that all layers are exact.
PrecisionPlan ImportPlan(std::string_view content, const std::string& source, size_t layer_count,
                         const Target& target);

}  // namespace kvtune
