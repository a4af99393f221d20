// Which pairs an engine can store in a model. The engine's own file says why it cannot store a pair
// in one layer; here that is asked for all layers of the model.
#include <fmt/format.h>

#include <algorithm>

#include "lib/base/error.h"
#include "lib/targets/engine.h"
#include "lib/targets/target.h"

namespace kvtune {
namespace {

// Returns nullopt when all layers can be stored with the pair, else the reason with the layer's
// index.
std::optional<std::string> WhyNotStored(PrecisionPair pair, const Target& target,
                                        const Engine& engine, std::span<const LayerShape> layers) {
  if (pair.is_exact()) return std::nullopt;
  if (target.shape.Uniform(pair, layers.size()).is_exact()) {
    return fmt::format("{} layers all stay exact beside {}", layers.size(), PairLabel(pair));
  }
  if (!engine.why_not_stored) return std::nullopt;
  for (size_t i = 0; i < layers.size(); ++i) {
    if (const std::optional<std::string> why = engine.why_not_stored(pair, layers[i]))
      return fmt::format("layer {}: {}", i, *why);
  }
  return std::nullopt;
}

// The number of channels that share a scale; 1, which fits all heads, where a scale belongs to a
// whole head or to neighbouring tokens.
int64_t GroupOf(KvFormatId id, KvSide side) {
  const QuantLayout& layout = FormatOf(id).layout(side);
  return layout.axis == QuantAxis::kPerToken ? std::max(layout.group_size, 1) : 1;
}

}  // namespace

std::optional<std::string> WhyNotInBlocks(KvFormatId format, int64_t block, int64_t head_dim) {
  if (head_dim % block == 0) return std::nullopt;
  return fmt::format("found a head_dim of {}, expected a multiple of {} for {}", head_dim, block,
                     FormatOf(format).name);
}

std::optional<std::string> WhyNotInGroups(PrecisionPair pair, const LayerShape& layer) {
  const auto why = [&](KvFormatId id, KvSide side) {
    return WhyNotInBlocks(id, GroupOf(id, side), layer.head_dim(side));
  };
  const std::optional<std::string> of_keys = why(pair.key, KvSide::kKey);
  return of_keys ? of_keys : why(pair.value, KvSide::kValue);
}

Target TargetFor(const Target& target, std::span<const LayerShape> layers) {
  const Engine& engine = FindEngine(target.name);
  Target fitted = target;
  fitted.layers.assign(layers.begin(), layers.end());
  std::string reason;  // why the first refused pair is refused
  const auto is_refused = [&](PrecisionPair pair) {
    const std::optional<std::string> why = WhyNotStored(pair, target, engine, layers);
    if (why && reason.empty()) reason = *why;
    return why.has_value();
  };
  std::erase_if(fitted.pairs, is_refused);
  std::erase_if(fitted.shape.pairs, is_refused);
  std::erase_if(fitted.shape.pairs_with_exact_ends, is_refused);
  if (fitted.pairs.empty()) {
    throw Error(
        fmt::format("the target {} cannot store this model's cache: {}", target.name, reason));
  }
  return fitted;
}

Target TargetFor(const Target& target, const ModelConfig& model) {
  return TargetFor(target, LayerShapesOf(model));
}

}  // namespace kvtune
