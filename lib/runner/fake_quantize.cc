#include "lib/runner/fake_quantize.h"

#include <algorithm>
#include <string>

#include "lib/base/error.h"
#include "lib/core/cache_maxima.h"
#include "lib/kernels/fake_quantize_cpu.h"
#include "lib/runner/cuda_kernels.h"

namespace kvtune {
namespace {

// Applies KVTuner's formula (fake_quantize_cpu.h) over dimension `dim`, operator by operator in the
// type of x, as KVTuner itself computes it.
at::Tensor QuantizeAlong(const at::Tensor& x, int64_t dim, int bits) {
  const double q_max = (1 << (bits - 1)) - 1;
  const double q_min = -(1 << (bits - 1));
  const at::Tensor low = at::amin(x, dim, /*keepdim=*/true);
  const at::Tensor high = at::amax(x, dim, /*keepdim=*/true);
  // The divisor is a tensor because CUDA would multiply by the reciprocal of a number, which rounds
  // differently.
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
  // [..., tokens / group, group, head_dim]
  const at::Tensor groups = x.unflatten(-2, {x.size(-2) / group, group});
  return QuantizeAlong(groups, -2, bits).flatten(-3, -2);
}

// Quantizes with KVTuner's integers. Float32 has vector code; other types are computed in their own
// type.
at::Tensor QuantizeKvtuner(const at::Tensor& x, const HeadArithmetic& arithmetic, QuantAxis axis) {
  const int64_t head_dim = x.size(-1), tokens = x.size(-2);
  const int64_t group = arithmetic.group;
  if (!x.device().is_cpu() || x.scalar_type() != at::kFloat) {
    return axis == QuantAxis::kPerChannel ? QuantizePerChannel(x, group, arithmetic.bits)
                                          : QuantizePerToken(x, group, arithmetic.bits);
  }
  at::Tensor out = at::empty_like(x);
  const float* in = x.const_data_ptr<float>();
  float* values = out.mutable_data_ptr<float>();
  if (axis == QuantAxis::kPerChannel) {
    FakeQuantizeColumns(in, values, x.numel() / (tokens * head_dim), tokens, head_dim, group,
                        arithmetic.bits);
  } else {
    FakeQuantizeRows(in, values, x.numel() / head_dim, head_dim, std::min(group, head_dim),
                     arithmetic.bits);
  }
  return out;
}

// Quantizes and reads back with any format, in float32 on the CPU. The result has the type and
// device of x.
at::Tensor RoundTripOnCpu(const at::Tensor& x, const HeadArithmetic& arithmetic, QuantAxis axis,
                          std::span<const float> static_scales) {
  const at::Tensor values =
      x.to(at::kCPU, at::kFloat, /*non_blocking=*/false, /*copy=*/true).contiguous();
  const HeadsShape shape{x.numel() / (x.size(-2) * x.size(-1)), x.size(-2), x.size(-1)};
  if (axis == QuantAxis::kPerChannel) {
    RoundTripColumns(values.mutable_data_ptr<float>(), shape, arithmetic);
  } else {
    std::vector<float> scale_of_head;
    for (int64_t head = 0; !static_scales.empty() && head < shape.heads; ++head) {
      scale_of_head.push_back(static_scales[static_cast<size_t>(head) % static_scales.size()]);
    }
    RoundTripHeads(values.mutable_data_ptr<float>(), shape, arithmetic,
                   scale_of_head.empty() ? nullptr : scale_of_head.data());
  }
  return values.to(x.options());
}

// Returns one scale for each KV head, or none when the rows have scales of their own.
std::vector<float> StaticScales(const KvFormat& format, const LayerSide& side) {
  if (format.scale != ScaleKind::kCalibrated) return {};
  if (!side.stored_scales.empty()) return {side.stored_scales.begin(), side.stored_scales.end()};
  if (side.head_maxima.empty()) {
    throw Error(
        "quantizing a cache as " + std::string(format.name) +
        ": found no calibrated scales, expected the largest keys and values of an exact pass");
  }
  return CalibratedScales(format, side.head_maxima);
}

// PairsAsNeighbours turns the channel order a0 a1 .. b0 b1 .. into a0 b0 a1 b1 .., and
// PairsAsHalves turns it back.
at::Tensor PairsAsNeighbours(const at::Tensor& x) {
  return x.unflatten(-1, {2, x.size(-1) / 2}).transpose(-1, -2).flatten(-2).contiguous();
}
at::Tensor PairsAsHalves(const at::Tensor& x) {
  return x.unflatten(-1, {x.size(-1) / 2, 2}).transpose(-1, -2).flatten(-2).contiguous();
}

// Whether the format's groups are of channels in the order of GGUF, which is not that of x.
bool NeedsNeighbours(const KvFormat& format, const LayerSide& side) {
  return side.gguf_rotary_neighbours && side.side == KvSide::kKey &&
         format.key_channels == ChannelOrder::kOfGguf;
}

// Tokens are flushed in groups: a residual window at a time, or a whole group along tokens at a
// time.
int64_t FlushedTokens(int64_t tokens, const KvFormat& format, KvSide side) {
  const QuantLayout& layout = format.layout(side);
  const int64_t group_tokens = layout.axis == QuantAxis::kPerChannel ? layout.group_size : 1;
  const int64_t window = std::max<int64_t>(format.residual_window_tokens, group_tokens);
  return tokens / window * window;
}

// KVTuner's integers are computed in the type of x.
bool IsPlainKvtuner(const KvFormat& format, const HeadArithmetic& arithmetic) {
  return format.numerics == Numerics::kKvtunerAsymmetric && arithmetic.rotation_block == 0;
}

// Whether a kernel of ours does all the work.
bool CanQuantizeOnCuda(const at::Tensor& x, const KvFormat& format, const LayerSide& side) {
  return UsesCudaKernels(x) && !format.is_exact() && !NeedsNeighbours(format, side) &&
         FlushedTokens(x.size(-2), format, side.side) == x.size(-2);
}

// REQUIRES: CanQuantizeOnCuda.
void QuantizeOnCuda(const at::Tensor& x, const KvFormat& format, const LayerSide& side,
                    const at::Tensor& out) {
  const HeadArithmetic arithmetic = HeadArithmeticOf(format, side.side, x.size(-1));
  const QuantAxis axis = format.layout(side.side).axis;
  if (IsPlainKvtuner(format, arithmetic)) {
    const int64_t most = axis == QuantAxis::kPerChannel ? x.size(-2) : x.size(-1);
    CudaRoundTripKvtuner(x, std::min<int64_t>(arithmetic.group, most), arithmetic.bits, axis, out);
  } else {
    CudaRoundTrip(x, arithmetic, axis, StaticScales(format, side), out);
  }
}

}  // namespace

at::Tensor FakeQuantize(const at::Tensor& x, const KvFormat& format, const LayerSide& side) {
  if (format.is_exact()) return x;
  if (NeedsNeighbours(format, side)) {
    return PairsAsHalves(FakeQuantize(
        PairsAsNeighbours(x), format,
        {.side = side.side, .head_maxima = side.head_maxima, .stored_scales = side.stored_scales}));
  }
  const QuantLayout& layout = format.layout(side.side);
  const int64_t tokens = x.size(-2), flushed = FlushedTokens(tokens, format, side.side);
  if (flushed == 0) return x;
  if (flushed < tokens) {
    const at::Tensor past = FakeQuantize(x.narrow(-2, 0, flushed).contiguous(), format, side);
    return at::cat({past, x.narrow(-2, flushed, tokens - flushed)}, -2);
  }
  if (UsesCudaKernels(x)) {
    const at::Tensor out = at::empty_like(x);
    QuantizeOnCuda(x, format, side, out);
    return out;
  }
  const HeadArithmetic arithmetic = HeadArithmeticOf(format, side.side, x.size(-1));
  if (IsPlainKvtuner(format, arithmetic)) return QuantizeKvtuner(x, arithmetic, layout.axis);
  return RoundTripOnCpu(x, arithmetic, layout.axis, StaticScales(format, side));
}

void FakeQuantizeInto(const at::Tensor& x, const KvFormat& format, const LayerSide& side,
                      const at::Tensor& out) {
  if (CanQuantizeOnCuda(x, format, side)) {
    QuantizeOnCuda(x, format, side, out);
  } else {
    out.copy_(FakeQuantize(x, format, side));
  }
}

}  // namespace kvtune
