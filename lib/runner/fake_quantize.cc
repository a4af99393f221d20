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
  if (UsesCudaKernels(x))
    return CudaRoundTripKvtuner(x,
                                std::min(group, axis == QuantAxis::kPerChannel ? tokens : head_dim),
                                arithmetic.bits, axis);
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

}  // namespace

at::Tensor FakeQuantize(const at::Tensor& x, const KvFormat& format, const LayerSide& side) {
  if (format.is_exact()) return x;
  if (side.gguf_rotary_neighbours && side.side == KvSide::kKey &&
      format.key_channels == ChannelOrder::kOfGguf) {
    return PairsAsHalves(FakeQuantize(
        PairsAsNeighbours(x), format,
        {.side = side.side, .head_maxima = side.head_maxima, .stored_scales = side.stored_scales}));
  }
  const QuantLayout& layout = format.layout(side.side);
  const int64_t tokens = x.size(-2);
  // Tokens are flushed in groups: a residual window at a time, or a whole group along tokens at a
  // time.
  const int64_t group_tokens = layout.axis == QuantAxis::kPerChannel ? layout.group_size : 1;
  const int64_t window = std::max<int64_t>(format.residual_window_tokens, group_tokens);
  const int64_t flushed = tokens / window * window;
  if (flushed == 0) return x;
  if (flushed < tokens) {
    const at::Tensor past = FakeQuantize(x.narrow(-2, 0, flushed).contiguous(), format, side);
    return at::cat({past, x.narrow(-2, flushed, tokens - flushed)}, -2);
  }
  const HeadArithmetic arithmetic = HeadArithmeticOf(format, side.side, x.size(-1));
  if (format.numerics == Numerics::kKvtunerAsymmetric && arithmetic.rotation_block == 0) {
    return QuantizeKvtuner(x, arithmetic, layout.axis);
  }
  const std::vector<float> static_scales = StaticScales(format, side);
  return UsesCudaKernels(x) ? CudaRoundTrip(x, arithmetic, layout.axis, static_scales)
                            : RoundTripOnCpu(x, arithmetic, layout.axis, static_scales);
}

}  // namespace kvtune
