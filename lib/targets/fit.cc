// What an engine can store of a model: its blocks have to fit the heads.
#include <fmt/format.h>

#include <algorithm>

#include "lib/base/error.h"
#include "lib/targets/engine.h"
#include "lib/targets/target.h"

namespace kvtune {
namespace {

bool IsPowerOfTwo(int64_t number) { return (number & (number - 1)) == 0; }

// Channels that the engine stores together; heads have to be a multiple. 1: any head.
int64_t BlockOf(const KvFormat& format, KvSide side) {
  // These store a shorter last row; the others' kernels refuse it.
  if (format.numerics == Numerics::kKvtunerAsymmetric || format.numerics == Numerics::kKvtunerSymmetric) return 1;
  const QuantLayout& layout = format.layout(side);
  return layout.axis == QuantAxis::kPerToken ? std::max(layout.group_size, 1) : 1;
}

// nullopt when the layer can be stored so.
std::optional<std::string> WhyNotStored(KvFormatId id, KvSide side, const LayerConfig& layer) {
  const KvFormat& format = FormatOf(id);
  const int64_t head_dim = layer.head_dim(side);
  if (const int64_t block = BlockOf(format, side); head_dim % block != 0) {
    return fmt::format("found a head_dim of {}, expected a multiple of {} for {}", head_dim, block, format.name);
  }
  if (format.layout(side).rotation.kind == RotationKind::kSignedHadamard && !IsPowerOfTwo(head_dim)) {
    return fmt::format("found a head_dim of {}, expected a power of two for {}", head_dim, format.name);
  }
  return std::nullopt;
}

std::optional<std::string> WhyNotStored(PrecisionPair pair, const LayerConfig& layer) {
  const std::optional<std::string> of_keys = WhyNotStored(pair.key, KvSide::kKey, layer);
  return of_keys ? of_keys : WhyNotStored(pair.value, KvSide::kValue, layer);
}

}  // namespace

Target TargetFor(const Target& target, const ModelConfig& model) {
  Target fitted = target;
  std::string reason;
  const auto is_refused = [&](PrecisionPair pair) {
    for (size_t layer = 0; layer < model.layers.size(); ++layer) {
      if (!target.quantizes_windows && model.layers[layer].window_tokens > 0 && !pair.is_exact()) {
        reason = fmt::format("layer {}: found a sliding window, which {} does not quantize", layer, target.name);
        return true;
      }
      if (const auto why = WhyNotStored(pair, model.layers[layer])) {
        if (reason.empty()) reason = fmt::format("layer {}: {}", layer, *why);
        return true;
      }
    }
    return false;
  };
  std::erase_if(fitted.pairs, is_refused);
  std::erase_if(fitted.shape.pairs, is_refused);
  if (fitted.pairs.empty()) {
    throw Error(fmt::format("the target {} cannot store this model's cache: {}", target.name, reason));
  }
  return fitted;
}

}  // namespace kvtune
