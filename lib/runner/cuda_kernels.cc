#include "lib/runner/cuda_kernels.h"

#if defined(KVTUNE_CUDA_KERNELS)

#include <algorithm>

#include "lib/kernels/cuda/compute_capability.h"
#include "lib/kernels/cuda/decode_attention.h"
#include "lib/kernels/cuda/dequantize_words.h"
#include "lib/kernels/cuda/fake_quantize.h"
#include "lib/kernels/cuda/gated_product.h"
#include "lib/kernels/cuda/row_kernels.h"
#include "lib/kernels/cuda/token_loss.h"
#include "lib/kernels/cuda/weight_errors.h"

namespace kvtune {
namespace {

// The rotation is that of the angles, unless these are undefined.
void GatherTo(const at::Tensor& out, const at::Tensor& projected, const HeadLayout& layout,
              const RotaryTables& angles, CudaGather gather) {
  at::Tensor cos, sin;  // as long as the launch needs them
  if (angles.cos.defined()) {
    cos = angles.cos.contiguous();
    sin = angles.sin.contiguous();
    gather.rotary_dim = 2 * cos.size(-1);
    gather.cos = cos.const_data_ptr();
    gather.sin = sin.const_data_ptr();
  }
  GatherHeadsOnCuda(PlaceOf(projected), projected.const_data_ptr(), layout, gather,
                    out.mutable_data_ptr());
}

CudaNorm NormOf(const at::Tensor& weight, double eps) {
  return {weight.const_data_ptr(), weight.scalar_type() == at::kFloat, static_cast<float>(eps)};
}

HeadsShape ShapeOf(const at::Tensor& x) {
  return {x.numel() / (x.size(-2) * x.size(-1)), x.size(-2), x.size(-1)};
}

CudaHeads HeadsOf(const at::Tensor& x, const at::Tensor& out) {
  return {x.const_data_ptr(), out.mutable_data_ptr(), PlaceOf(x)};
}

CudaLogitSummaries PointersOf(const CudaSummary& summary) {
  return {summary.shift.mutable_data_ptr<float>(), summary.top.mutable_data_ptr<int64_t>()};
}

// REQUIRES: the coding is one of words.
WordOrder OrderOf(WeightCoding coding) {
  return coding == WeightCoding::kAwq    ? WordOrder::kAwq
         : coding == WeightCoding::kGptq ? WordOrder::kColumns
                                         : WordOrder::kRows;
}

}  // namespace

bool UsesCudaKernels(const at::Tensor& x) {
  const at::ScalarType type = x.scalar_type();
  return x.is_cuda() && (type == at::kFloat || type == at::kBFloat16 || type == at::kHalf);
}

CudaPlace PlaceOf(const at::Tensor& x) {
  const c10::impl::VirtualGuardImpl guard(at::kCUDA);
  const at::ScalarType type = x.scalar_type();
  return {x.get_device(), guard.getStream(x.device()).native_handle(),
          type == at::kFloat      ? ElementType::kFloat32
          : type == at::kBFloat16 ? ElementType::kBFloat16
                                  : ElementType::kFloat16};
}

bool IsOnHopper(const at::Tensor& x) {
  return x.is_cuda() && ComputeCapability(x.get_device()) == 90;
}

at::Tensor CudaRmsNorm(const at::Tensor& x, const at::Tensor& weight, double eps) {
  const at::Tensor rows = x.contiguous();
  const at::Tensor out = at::empty_like(rows);
  RmsNormOnCuda(PlaceOf(rows), rows.const_data_ptr(), NormOf(weight, eps),
                rows.numel() / rows.size(-1), rows.size(-1), out.mutable_data_ptr());
  return out;
}

at::Tensor CudaAddAndNorm(const at::Tensor& before, const at::Tensor& delta, double scale,
                          const at::Tensor& weight, double eps, at::Tensor& rows) {
  const at::Tensor out = at::empty_like(rows);
  AddAndNormOnCuda(PlaceOf(rows), before.const_data_ptr(), delta.const_data_ptr(),
                   static_cast<float>(scale), NormOf(weight, eps), rows.size(0), rows.size(1),
                   rows.mutable_data_ptr(), out.mutable_data_ptr());
  return out;
}

at::Tensor CudaGated(const at::Tensor& gate_up, Activation activation) {
  const int64_t rows = gate_up.size(0), width = gate_up.size(1) / 2;
  const at::Tensor in = gate_up.contiguous();
  const at::Tensor out = at::empty({rows, width}, gate_up.options());
  GatedOnCuda(PlaceOf(in), in.const_data_ptr(), rows, width, activation, out.mutable_data_ptr());
  return out;
}

bool HasCudaGatedLinear(const at::Tensor& rows, const at::Tensor& gate_up, Activation activation) {
  constexpr int64_t kFewestRows = 2048;  // with fewer, libtorch's products use smaller tiles
  const auto is_packed = [](const at::Tensor& x) {
    return x.is_contiguous() && reinterpret_cast<uintptr_t>(x.const_data_ptr()) % 16 == 0;
  };
  return UsesCudaKernels(rows) && activation != Activation::kClampedSwiglu &&
         rows.size(0) >= kFewestRows && is_packed(rows) && is_packed(gate_up) &&
         HasGatedProductOnHopper(PlaceOf(rows).type, rows.size(1), gate_up.size(0) / 2) &&
         IsOnHopper(rows);
}

at::Tensor CudaGatedLinear(const at::Tensor& rows, const at::Tensor& gate_up,
                           Activation activation) {
  const int64_t width = gate_up.size(0) / 2;
  const at::Tensor out = at::empty({rows.size(0), width}, rows.options());
  GatedProductOnHopper(PlaceOf(rows), {.rows = rows.const_data_ptr(),
                                       .weights = gate_up.const_data_ptr(),
                                       .row_count = rows.size(0),
                                       .depth = rows.size(1),
                                       .width = width,
                                       .activation = activation,
                                       .out = out.mutable_data_ptr()});
  return out;
}

at::Tensor CudaSumOfChoices(const at::Tensor& results, const at::Tensor& places,
                            const at::Tensor& weights) {
  const at::Tensor out = at::empty({weights.size(0), results.size(1)}, results.options());
  SumChoicesOnCuda(PlaceOf(results), results.const_data_ptr(), places.const_data_ptr<int64_t>(),
                   weights.const_data_ptr(), weights.size(0), weights.size(1), results.size(1),
                   out.mutable_data_ptr());
  return out;
}

at::Tensor CudaGatherHeads(const at::Tensor& projected, const HeadLayout& layout,
                           const RotaryTables& angles, double scale, bool by_token) {
  const int64_t first = by_token ? layout.tokens : layout.heads;
  const int64_t second = by_token ? layout.heads : layout.tokens;
  const at::Tensor out =
      at::empty({layout.sequences, first, second, layout.head_dim}, projected.options());
  GatherTo(out, projected, layout, angles,
           {.scale = static_cast<float>(scale), .by_token = by_token});
  return by_token ? out.transpose(1, 2) : out;
}

CudaQueryKeyValue CudaGatherQueryKeyValue(const at::Tensor& projected, int64_t query_heads,
                                          int64_t kv_heads, const RotaryTables& angles,
                                          double scale) {
  const int64_t tokens = projected.size(1), width = projected.size(2);
  const int64_t heads = query_heads + 2 * kv_heads, head_dim = width / heads;
  const at::Tensor out = at::empty({1, heads, tokens, head_dim}, projected.options());
  GatherTo(out, projected, {1, tokens, width, 0, heads, head_dim}, angles,
           {.scale = static_cast<float>(scale),
            .rotated_heads = query_heads + kv_heads,
            .scaled_heads = query_heads});
  return {out.narrow(1, 0, query_heads), out.narrow(1, query_heads, kv_heads),
          out.narrow(1, query_heads + kv_heads, kv_heads)};
}

void CudaCausalSoftmax(at::Tensor& scores, int64_t first_visible, int64_t window,
                       const at::Tensor& sinks) {
  CausalSoftmaxOnCuda(PlaceOf(scores), scores.mutable_data_ptr(),
                      {.matrices = scores.size(0) * scores.size(1),
                       .rows = scores.size(2),
                       .columns = scores.size(3),
                       .first_visible = first_visible,
                       .window = window,
                       .heads = scores.size(1)},
                      sinks.defined() ? sinks.const_data_ptr() : nullptr);
}

at::Tensor CudaErrorSumsOf(const at::Tensor& x, std::span<const at::Tensor> approximations) {
  const int64_t heads = x.size(0), elements = x.size(1) * x.size(2);
  const at::Tensor parts = at::empty(
      {std::ssize(approximations), heads, CudaErrorSums::PartsOf(elements), CudaErrorSums::kCount},
      x.options().dtype(at::kDouble));
  for (size_t i = 0; i < approximations.size(); ++i) {
    const bool as_they_are = x.strides() == approximations[i].strides() && x.stride(2) == 1;
    const at::Tensor a = as_they_are ? x : x.contiguous();
    const at::Tensor b = as_they_are ? approximations[i] : approximations[i].contiguous();
    SumErrorsOnCuda(PlaceOf(a), a.const_data_ptr(), b.const_data_ptr(),
                    {heads, x.size(1), x.size(2), a.stride(0), a.stride(1)},
                    parts[static_cast<int64_t>(i)].mutable_data_ptr<double>());
  }
  return parts.sum(2);
}

at::Tensor CudaChannelErrorSumsOf(const at::Tensor& x, std::span<const at::Tensor> approximations) {
  const at::Tensor exact = x.contiguous();
  const int64_t heads = x.size(0), tokens = x.size(1), head_dim = x.size(2);
  const at::Tensor parts =
      at::empty({std::ssize(approximations), heads, CudaErrorSums::ChannelPartsOf(tokens), head_dim,
                 CudaErrorSums::kCount},
                x.options().dtype(at::kDouble));
  for (size_t i = 0; i < approximations.size(); ++i) {
    const at::Tensor approximation = approximations[i].contiguous();
    SumChannelErrorsOnCuda(PlaceOf(exact), exact.const_data_ptr(), approximation.const_data_ptr(),
                           heads, tokens, head_dim,
                           parts[static_cast<int64_t>(i)].mutable_data_ptr<double>());
  }
  return parts.sum(2);
}

bool HasCudaWeightErrors(const at::Tensor& query) {
  return UsesCudaKernels(query) && CanCompareWeightsOnCuda(PlaceOf(query).type, query.size(-1));
}

CudaWeightErrors CudaCompareWeights(const at::Tensor& query, const CudaAttendedKeys& exact,
                                    std::span<const CudaAttendedKeys> formats,
                                    int64_t first_counted, int64_t sliding_window) {
  const CudaAttentionShape shape{.query_heads = query.size(0),
                                 .kv_heads = exact.keys.size(0),
                                 .tokens = query.size(1),
                                 .head_dim = query.size(2),
                                 .query_head_stride = query.stride(0),
                                 .query_token_stride = query.stride(1),
                                 .first_counted = first_counted,
                                 .sliding_window = sliding_window};
  std::vector<at::Tensor> kept;  // until the launch
  const auto pointers_of = [&](const CudaAttendedKeys& side) {
    kept.push_back(side.keys.contiguous());
    const void* keys = kept.back().const_data_ptr();
    kept.push_back(side.log_sums.contiguous());
    return CudaKeys{keys, kept.back().const_data_ptr<float>(), side.window_tokens};
  };
  const CudaKeys exact_keys = pointers_of(exact);
  std::vector<CudaKeys> keys_of_formats;
  for (const CudaAttendedKeys& format : formats) keys_of_formats.push_back(pointers_of(format));
  // The largest weights come with the comparison, also where there is nothing to compare.
  if (formats.empty()) keys_of_formats.push_back(exact_keys);
  const at::Tensor errors =
      at::empty({std::ssize(keys_of_formats), shape.kv_heads, WeightErrorParts(shape)},
                query.options().dtype(at::kDouble));
  const at::Tensor largest =
      at::empty({shape.query_heads, shape.tokens}, query.options().dtype(at::kFloat));
  CompareWeightsOnCuda(PlaceOf(query), shape, query.const_data_ptr(), exact_keys, keys_of_formats,
                       errors.mutable_data_ptr<double>(), largest.mutable_data_ptr<float>());
  return {errors.sum(2).narrow(0, 0, std::ssize(formats)),
          largest.narrow(1, first_counted, shape.tokens - first_counted)
              .sum(1, /*keepdim=*/false, at::kDouble)};
}

CudaSummary CudaSummarize(const at::Tensor& logits) {
  const int64_t rows = logits.size(0);
  CudaSummary summary{at::empty({rows}, logits.options().dtype(at::kFloat)),
                      at::empty({rows}, logits.options().dtype(at::kLong))};
  SummarizeOnCuda(PlaceOf(logits), logits.const_data_ptr(), rows, logits.size(1),
                  PointersOf(summary));
  return summary;
}

CudaLosses CudaTokenLosses(const at::Tensor& reference, const CudaSummary& summary,
                           const at::Tensor& logits, const at::Tensor& next_tokens) {
  const int64_t plans = logits.size(0), rows = logits.size(1);
  const auto empty = [&](at::ScalarType type) {
    return at::empty({plans, rows}, logits.options().dtype(type));
  };
  CudaLosses losses{empty(at::kFloat), empty(at::kDouble), empty(at::kBool), empty(at::kFloat)};
  TokenLossesOnCuda(
      PlaceOf(logits), reference.const_data_ptr(), PointersOf(summary), logits.const_data_ptr(),
      next_tokens.const_data_ptr<int64_t>(), plans, rows, logits.size(2),
      {losses.kl.mutable_data_ptr<float>(), losses.nll.mutable_data_ptr<double>(),
       losses.same_top1.mutable_data_ptr<bool>(), losses.variation.mutable_data_ptr<float>()});
  return losses;
}

bool HasCudaDequantizedWords(const at::TensorOptions& options) {
  return options.device().is_cuda() && UsesCudaKernels(at::empty({1}, options));
}

at::Tensor CudaDequantizedWords(const CudaStoredWords& stored, const at::TensorOptions& options) {
  const at::Tensor out = at::empty({stored.rows, stored.columns}, options);
  DequantizeWordsOnCuda(
      PlaceOf(out),
      {.order = OrderOf(stored.coding),
       .bits = stored.bits,
       .rows = stored.rows,
       .columns = stored.columns,
       .words = reinterpret_cast<const uint32_t*>(stored.words.const_data_ptr<int32_t>()),
       .group_of = stored.group_of.const_data_ptr<int32_t>(),
       .scales = stored.scales.const_data_ptr<float>(),
       .zeros = stored.zeros.const_data_ptr<float>()},
      out.mutable_data_ptr());
  return out;
}

void CudaRoundTrip(const at::Tensor& x, const HeadArithmetic& arithmetic, QuantAxis axis,
                   std::span<const float> static_scales, const at::Tensor& out) {
  if (axis == QuantAxis::kPerChannel) {
    RoundTripColumnsOnCuda(HeadsOf(x, out), ShapeOf(x), arithmetic);
  } else {
    RoundTripHeadsOnCuda(HeadsOf(x, out), ShapeOf(x), arithmetic, static_scales);
  }
}

void CudaRoundTripKvtuner(const at::Tensor& x, int64_t group, int bits, QuantAxis axis,
                          const at::Tensor& out) {
  if (axis == QuantAxis::kPerChannel) {
    KvtunerColumnsOnCuda(HeadsOf(x, out), ShapeOf(x), group, bits);
  } else {
    KvtunerRowsOnCuda(HeadsOf(x, out), ShapeOf(x), group, bits);
  }
}

bool HasCudaDecodeAttention(const at::TensorOptions& options, int64_t key_head_dim,
                            int64_t value_head_dim) {
  if (!options.device().is_cuda() || key_head_dim != value_head_dim) return false;
  const at::Tensor one = at::empty({1}, options);
  return UsesCudaKernels(one) && CanDecodeOnCuda(PlaceOf(one).type, key_head_dim);
}

void CudaDecodeAttention(const at::Tensor& query, const CudaCacheSides& cache,
                         const CudaCacheRows& rows, const ScoreRule& rule, at::Tensor& out) {
  const int64_t kv_heads = cache.keys.size(1), numbers = rows.groups.numel();
  const int64_t of_group = kGroupHeader + RowsOfGroup(query.size(0) / kv_heads);
  at::Tensor sinks;
  if (rule.sinks.defined()) sinks = rule.sinks.to(at::kFloat).contiguous();
  DecodeAttentionOnCuda({.query = query.const_data_ptr(),
                         .query_head_stride = query.stride(0),
                         .query_row_stride = query.stride(1),
                         .keys = cache.keys.const_data_ptr(),
                         .values = cache.values.const_data_ptr(),
                         .out = out.mutable_data_ptr(),
                         .query_heads = query.size(0),
                         .kv_heads = kv_heads,
                         .max_tokens = cache.keys.size(2),
                         .head_dim = query.size(2),
                         .positions = rows.positions.const_data_ptr<int64_t>(),
                         .groups = rows.groups.const_data_ptr<int64_t>(),
                         .group_count = numbers / of_group,
                         .sliding_window = rule.window_tokens,
                         .soft_cap = static_cast<float>(rule.soft_cap),
                         .sinks = sinks.defined() ? sinks.const_data_ptr<float>() : nullptr},
                        PlaceOf(query));
}

void CudaAddRoundingNoise(at::Tensor& x, double step, uint64_t seed) {
  x = x.contiguous();
  AddRoundingNoiseOnCuda(PlaceOf(x), x.mutable_data_ptr(), x.numel(), step, seed);
}

}  // namespace kvtune

#else

#include <stdexcept>

namespace kvtune {
namespace {

// TORCH_CHECK would put the path of this source into the program.
[[noreturn]] void NotBuilt() {
  throw std::logic_error("kvtune was built without its CUDA kernels");
}

}  // namespace

bool UsesCudaKernels(const at::Tensor&) { return false; }
CudaPlace PlaceOf(const at::Tensor&) { NotBuilt(); }
bool IsOnHopper(const at::Tensor&) { return false; }
at::Tensor CudaRmsNorm(const at::Tensor&, const at::Tensor&, double) { NotBuilt(); }
at::Tensor CudaAddAndNorm(const at::Tensor&, const at::Tensor&, double, const at::Tensor&, double,
                          at::Tensor&) {
  NotBuilt();
}
at::Tensor CudaGated(const at::Tensor&, Activation) { NotBuilt(); }
bool HasCudaGatedLinear(const at::Tensor&, const at::Tensor&, Activation) { return false; }
at::Tensor CudaGatedLinear(const at::Tensor&, const at::Tensor&, Activation) { NotBuilt(); }
at::Tensor CudaSumOfChoices(const at::Tensor&, const at::Tensor&, const at::Tensor&) { NotBuilt(); }
at::Tensor CudaGatherHeads(const at::Tensor&, const HeadLayout&, const RotaryTables&, double,
                           bool) {
  NotBuilt();
}
CudaQueryKeyValue CudaGatherQueryKeyValue(const at::Tensor&, int64_t, int64_t, const RotaryTables&,
                                          double) {
  NotBuilt();
}
void CudaCausalSoftmax(at::Tensor&, int64_t, int64_t, const at::Tensor&) { NotBuilt(); }
at::Tensor CudaErrorSumsOf(const at::Tensor&, std::span<const at::Tensor>) { NotBuilt(); }
at::Tensor CudaChannelErrorSumsOf(const at::Tensor&, std::span<const at::Tensor>) { NotBuilt(); }
bool HasCudaWeightErrors(const at::Tensor&) { return false; }
CudaWeightErrors CudaCompareWeights(const at::Tensor&, const CudaAttendedKeys&,
                                    std::span<const CudaAttendedKeys>, int64_t, int64_t) {
  NotBuilt();
}
CudaSummary CudaSummarize(const at::Tensor&) { NotBuilt(); }
CudaLosses CudaTokenLosses(const at::Tensor&, const CudaSummary&, const at::Tensor&,
                           const at::Tensor&) {
  NotBuilt();
}
bool HasCudaDequantizedWords(const at::TensorOptions&) { return false; }
at::Tensor CudaDequantizedWords(const CudaStoredWords&, const at::TensorOptions&) { NotBuilt(); }
void CudaRoundTrip(const at::Tensor&, const HeadArithmetic&, QuantAxis, std::span<const float>,
                   const at::Tensor&) {
  NotBuilt();
}
void CudaRoundTripKvtuner(const at::Tensor&, int64_t, int, QuantAxis, const at::Tensor&) {
  NotBuilt();
}
bool HasCudaDecodeAttention(const at::TensorOptions&, int64_t, int64_t) { return false; }
void CudaDecodeAttention(const at::Tensor&, const CudaCacheSides&, const CudaCacheRows&,
                         const ScoreRule&, at::Tensor&) {
  NotBuilt();
}
void CudaAddRoundingNoise(at::Tensor&, double, uint64_t) { NotBuilt(); }

}  // namespace kvtune

#endif
