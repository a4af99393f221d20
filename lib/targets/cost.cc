#include <algorithm>

#include "lib/targets/target.h"

namespace kvtune {
namespace {

constexpr double kExactBits = 16;

// The bits of one side of one layer whose cache holds `cached_tokens` tokens. The newest tokens, up
// to the residual window, are stored exactly, and the others at the format's effective bits.
double CachedBits(const KvFormat& format, double effective_bits, const LayerConfig& layer,
                  KvSide side, int64_t cached_tokens) {
  const auto cached = static_cast<double>(cached_tokens);
  const double exact = std::min<double>(cached, format.residual_window_tokens);
  return (exact * kExactBits + (cached - exact) * effective_bits) *
         static_cast<double>(layer.kv_width(side));
}

}  // namespace

PlanCost CostOf(const Target& target, const PrecisionPlan& plan, const ModelConfig& model,
                int64_t context_tokens) {
  PlanCost cost;
  double elements = 0;  // the elements that one token adds to the cache
  double cached_bits = 0;
  const auto add_side = [&](KvFormatId id, KvSide side, const LayerConfig& layer) {
    const KvFormat& format = FormatOf(id);
    const double effective = EffectiveBits(format, side, layer.head_dim(side));
    const auto width = static_cast<double>(layer.kv_width(side));
    cost.nominal_bits += format.bits;
    cost.effective_bits += effective * width;
    elements += width;
    const int64_t cached =
        target.drops_old_tokens ? layer.cached_tokens(context_tokens) : context_tokens;
    cached_bits += CachedBits(format, effective, layer, side, cached);
  };
  for (size_t i = 0; i < plan.layers.size(); ++i) {
    add_side(plan.layers[i].key, KvSide::kKey, model.layers[i]);
    add_side(plan.layers[i].value, KvSide::kValue, model.layers[i]);
  }
  cost.nominal_bits /= 2.0 * static_cast<double>(plan.layers.size());
  cost.effective_bits /= elements;
  cost.bytes_per_token = cached_bits / 8 / static_cast<double>(context_tokens);
  return cost;
}

std::optional<double> PaddedBytesPerToken(const Target& target, const PrecisionPlan& plan,
                                          const ModelConfig& model, int64_t context_tokens) {
  const bool is_hybrid = std::ranges::any_of(
      model.layers, [](const LayerConfig& layer) { return layer.window_tokens > 0; });
  if (!target.pads_pages || !is_hybrid) return std::nullopt;
  double largest = 0, cached_tokens = 0;
  for (size_t i = 0; i < plan.layers.size(); ++i) {
    const LayerConfig& layer = model.layers[i];
    const auto bits = [&](KvFormatId id, KvSide side) {
      return EffectiveBits(FormatOf(id), side, layer.head_dim(side)) *
             static_cast<double>(layer.kv_width(side));
    };
    largest = std::max(largest, bits(plan.layers[i].key, KvSide::kKey) +
                                    bits(plan.layers[i].value, KvSide::kValue));
    cached_tokens += static_cast<double>(layer.cached_tokens(context_tokens));
  }
  return largest * cached_tokens / 8 / static_cast<double>(context_tokens);
}

}  // namespace kvtune
