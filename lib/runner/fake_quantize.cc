#include "lib/runner/fake_quantize.h"

#include "lib/base/error.h"
#include "lib/runner/fake_quantize_cpu.h"

namespace kvtune {
namespace {

// The formula of fake_quantize_cpu.h over dimension `dim`, operator by operator in x's own type.
at::Tensor QuantizeAlong(const at::Tensor& x, int64_t dim, int bits) {
  const double q_max = (1 << (bits - 1)) - 1;
  const double q_min = -(1 << (bits - 1));
  const at::Tensor low = at::amin(x, dim, /*keepdim=*/true);
  const at::Tensor high = at::amax(x, dim, /*keepdim=*/true);
  // A tensor, not a number: CUDA would multiply by a number's reciprocal, which rounds differently.
  const at::Tensor steps = at::full({}, q_max - q_min, x.options());
  const at::Tensor scale = at::clamp(high - low, 1e-5).div_(steps);
  const at::Tensor zero = at::round(low / scale).sub_(q_min);
  return (x / scale).sub_(zero).round_().clamp_(q_min, q_max).add_(zero).mul_(scale);
}

at::Tensor QuantizePerToken(const at::Tensor& x, int64_t group, int bits) {
  const int64_t width = x.size(-1);
  if (group >= width) return QuantizeAlong(x, -1, bits);
  std::vector<at::Tensor> rows;  // the last one may be shorter
  for (int64_t start = 0; start < width; start += group) {
    rows.push_back(QuantizeAlong(x.narrow(-1, start, std::min(group, width - start)), -1, bits));
  }
  return at::cat(rows, -1);
}

at::Tensor QuantizePerChannel(const at::Tensor& x, int64_t group, int bits) {
  const int64_t tokens = x.size(-2);
  const int64_t flushed = tokens / group * group;
  if (flushed == 0) return x;
  // [..., flushed / group, group, head_dim]
  const at::Tensor groups = x.narrow(-2, 0, flushed).unflatten(-2, {flushed / group, group});
  const at::Tensor quantized = QuantizeAlong(groups, -2, bits).flatten(-3, -2);
  if (flushed == tokens) return quantized;
  return at::cat({quantized, x.narrow(-2, flushed, tokens - flushed)}, -2);
}

}  // namespace

at::Tensor FakeQuantize(const at::Tensor& x, const KvFormat& format, KvSide side) {
  if (format.is_exact()) return x;
  if (format.numerics != Numerics::kKvtunerAsymmetric) {
    throw Error("quantizing a cache: found the format " + std::string(format.name) +
                ", expected one whose arithmetic is known (int8, int4, int2 and KIVI)");
  }
  const QuantLayout& layout = format.layout(side);
  const int64_t head_dim = x.size(-1);
  const int64_t tokens = x.size(-2);
  const bool fast_path = x.device().is_cpu() && x.scalar_type() == at::kFloat && x.is_contiguous();
  if (layout.axis == QuantAxis::kPerChannel) {
    if (!fast_path) return QuantizePerChannel(x, layout.group_size, format.bits);
    at::Tensor out = at::empty_like(x);
    FakeQuantizeColumns(x.const_data_ptr<float>(), out.mutable_data_ptr<float>(), x.numel() / (tokens * head_dim),
                        tokens, head_dim, layout.group_size, format.bits);
    return out;
  }
  const int64_t group = layout.group_size == 0 ? head_dim : std::min<int64_t>(layout.group_size, head_dim);
  // With a residual window tokens are flushed together, in windows of that many.
  const int64_t window = format.residual_window_tokens;
  const int64_t flushed = window == 0 ? tokens : tokens / window * window;
  if (flushed < tokens) {
    if (flushed == 0) return x;
    KvFormat whole = format;
    whole.residual_window_tokens = 0;
    const at::Tensor past = FakeQuantize(x.narrow(-2, 0, flushed).contiguous(), whole, side);
    return at::cat({past, x.narrow(-2, flushed, tokens - flushed)}, -2);
  }
  if (!fast_path) return QuantizePerToken(x, group, format.bits);
  at::Tensor out = at::empty_like(x);
  FakeQuantizeRows(x.const_data_ptr<float>(), out.mutable_data_ptr<float>(), x.numel() / head_dim, head_dim, group,
                   format.bits);
  return out;
}

}  // namespace kvtune
