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
  // Eight channels share three bytes, two share one.
  if (format.numerics == Numerics::kTurboquantValue) return format.bits == 3 ? 8 : 2;
  // These store a shorter last row; the others' kernels refuse it.
  if (format.numerics == Numerics::kKvtunerAsymmetric ||
      format.numerics == Numerics::kKvtunerSymmetric)
    return 1;
  const QuantLayout& layout = format.layout(side);
  return layout.axis == QuantAxis::kPerToken ? std::max(layout.group_size, 1) : 1;
}

// nullopt when the layer can be stored so.
std::optional<std::string> WhyNotStored(KvFormatId id, KvSide side, const LayerConfig& layer) {
  const KvFormat& format = FormatOf(id);
  const int64_t head_dim = layer.head_dim(side);
  if (const int64_t block = BlockOf(format, side); head_dim % block != 0) {
    return fmt::format("found a head_dim of {}, expected a multiple of {} for {}", head_dim, block,
                       format.name);
  }
  const bool rotates_rows = format.layout(side).rotation.kind == RotationKind::kSignedHadamard ||
                            format.numerics == Numerics::kTurboquantKey;
  if (rotates_rows && !IsPowerOfTwo(head_dim)) {
    return fmt::format("found a head_dim of {}, expected a power of two for {}", head_dim,
                       format.name);
  }
  return std::nullopt;
}

std::optional<std::string> WhyNotStored(PrecisionPair pair, const LayerConfig& layer) {
  if (FormatOf(pair.value).numerics == Numerics::kTurboquantValue) {
    // One slot holds keys and values; its kernels know no window
    // (vllm/v1/attention/backends/turboquant_attn.py).
    if (layer.key_head_dim != layer.value_head_dim) {
      return fmt::format("found keys of {} channels and values of {}, expected as many for {}",
                         layer.key_head_dim, layer.value_head_dim, PairLabel(pair));
    }
    if (layer.window_tokens != 0) {
      return fmt::format("found a sliding window of {} tokens, expected none for {}",
                         layer.window_tokens, PairLabel(pair));
    }
  }
  const std::optional<std::string> of_keys = WhyNotStored(pair.key, KvSide::kKey, layer);
  return of_keys ? of_keys : WhyNotStored(pair.value, KvSide::kValue, layer);
}

// nullopt when the whole model can be stored so; else with the layer.
std::optional<std::string> WhyNotStored(PrecisionPair pair, const Target& target,
                                        const ModelConfig& model) {
  if (pair.is_exact()) return std::nullopt;
  if (target.shape.Uniform(pair, model.layers.size()).is_exact()) {
    return fmt::format("{} layers all stay exact beside {}", model.layers.size(), PairLabel(pair));
  }
  for (size_t i = 0; i < model.layers.size(); ++i) {
    const LayerConfig& layer = model.layers[i];
    if (!target.quantizes_windows && layer.window_tokens > 0) {
      return fmt::format("layer {}: found a sliding window, which {} does not quantize", i,
                         target.name);
    }
    if (const auto why = WhyNotStored(pair, layer)) return fmt::format("layer {}: {}", i, *why);
  }
  return std::nullopt;
}

}  // namespace

Target TargetFor(const Target& target, const ModelConfig& model) {
  Target fitted = target;
  std::string reason;  // the first one
  const auto is_refused = [&](PrecisionPair pair) {
    const std::optional<std::string> why = WhyNotStored(pair, target, model);
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

}  // namespace kvtune
