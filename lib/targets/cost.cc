#include "lib/targets/target.h"

#include <algorithm>

namespace kvtune {
namespace {

constexpr double kExactBits = 16;

// Mean bits of an element of one side over a context: the newest tokens, up to the residual window,
// are stored exactly, the others at the format's effective bits.
double MeanBits(const KvFormat& format, double effective_bits, int64_t context_tokens) {
  const auto context = static_cast<double>(context_tokens);
  const double exact_tokens = std::min<double>(context, format.residual_window_tokens);
  return (exact_tokens * kExactBits + (context - exact_tokens) * effective_bits) / context;
}

}  // namespace

PlanCost CostOf(const PrecisionPlan& plan, const ModelConfig& model, int64_t context_tokens) {
  PlanCost cost;
  const auto add_side = [&](KvFormatId id, KvSide side) {
    const KvFormat& format = FormatOf(id);
    const double effective = EffectiveBits(format, side, model.head_dim);
    cost.nominal_bits += format.bits;
    cost.effective_bits += effective;
    cost.bytes_per_token +=
        MeanBits(format, effective, context_tokens) / 8 * static_cast<double>(model.kv_width());
  };
  for (const PrecisionPair pair : plan.layers) {
    add_side(pair.key, KvSide::kKey);
    add_side(pair.value, KvSide::kValue);
  }
  // Both sides of every layer have the same width, so the weighted mean is the plain one.
  const double sides = 2.0 * static_cast<double>(plan.layers.size());
  cost.nominal_bits /= sides;
  cost.effective_bits /= sides;
  return cost;
}

}  // namespace kvtune
