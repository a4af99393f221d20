// Quantize-dequantize of one row, for every arithmetic of the format table; the CPU's and CUDA's
// kernels both compile this, so that they give the same bits: every operation rounds to float32,
// and nothing is fused (-ffp-contract=off, -fmad=false).
//
// Each function names the engine's source that it follows. Scales are stored as the engine stores
// them; where an engine stores them in the model's own type (KVTuner, MLX, HQQ, quanto) they stay
// float32. Rows too small to have a scale give zeros (or their offset) also where a kernel would
// make NaN of 0 times infinity.
#pragma once

#include <cmath>

#include "lib/core/kv_format.h"
#include "lib/kernels/small_floats.h"

namespace kvtune {

// `size` elements, `stride` apart.
struct Row {
  float* data;
  int64_t size;
  int64_t stride;

  KVTUNE_HOST_DEVICE float& operator[](int64_t i) const { return data[i * stride]; }
};

struct RowRange {
  float low;
  float high;
};

KVTUNE_HOST_DEVICE inline RowRange RangeOf(Row x) {
  RowRange range{x[0], x[0]};
  for (int64_t i = 1; i < x.size; ++i) {
    range.low = x[i] < range.low ? x[i] : range.low;
    range.high = x[i] > range.high ? x[i] : range.high;
  }
  return range;
}

// The element of the largest magnitude, with its sign; the first of several.
KVTUNE_HOST_DEVICE inline float ExtremeOf(Row x) {
  float extreme = 0;
  for (int64_t i = 0; i < x.size; ++i) {
    if (fabsf(x[i]) > fabsf(extreme)) extreme = x[i];
  }
  return extreme;
}

// 0 where there is none: of 0, and of subnormals that would give infinity.
KVTUNE_HOST_DEVICE inline float Reciprocal(float x) {
  const float inverse = x != 0 ? 1.0f / x : 0.0f;
  return fabsf(inverse) < FromBits(0x7f800000u) ? inverse : 0.0f;
}

// The whole part of x as a level 0..highest; not a number counts as 0.
KVTUNE_HOST_DEVICE inline float LevelOf(float x, float highest) {
  const float level = truncf(x);
  return level > 0 ? (level < highest ? level : highest) : 0.0f;
}

KVTUNE_HOST_DEVICE inline float RoundHalfAway(float x) {
  return truncf(x >= 0 ? x + 0.5f : x - 0.5f);
}

// arXiv 2502.04420, KVTuner's "vanilla" cache: see fake_quantize_cpu.h.
KVTUNE_HOST_DEVICE inline void KvtunerAsymmetric(Row x, int bits) {
  const float q_max = static_cast<float>((1 << (bits - 1)) - 1),
              q_min = -static_cast<float>(1 << (bits - 1));
  const RowRange range = RangeOf(x);
  const float width = range.high - range.low;
  const float scale = (width > 1e-5f ? width : 1e-5f) / (q_max - q_min);
  const float zero = RoundHalfToEven(range.low / scale) - q_min;
  for (int64_t i = 0; i < x.size; ++i) {
    x[i] = (Clamp(RoundHalfToEven(x[i] / scale - zero), q_min, q_max) + zero) * scale;
  }
}

// Its symmetric mode: scale = max(max|x|, 1e-5) / q_max.
KVTUNE_HOST_DEVICE inline void KvtunerSymmetric(Row x, int bits) {
  const float q_max = static_cast<float>((1 << (bits - 1)) - 1),
              q_min = -static_cast<float>(1 << (bits - 1));
  const float largest = fabsf(ExtremeOf(x));
  const float scale = (largest > 1e-5f ? largest : 1e-5f) / q_max;
  for (int64_t i = 0; i < x.size; ++i)
    x[i] = Clamp(RoundHalfToEven(x[i] / scale), q_min, q_max) * scale;
}

// vllm/v1/attention/ops/triton_reshape_and_cache_flash.py, _reshape_cache_per_token_head: the
// scaled value is stored to an int8 pointer, a cast that truncates.
KVTUNE_HOST_DEVICE inline void VllmInt8(Row x) {
  const float largest = fabsf(ExtremeOf(x)) / 127.0f;
  const float scale = largest > 1e-6f ? largest : 1e-6f;
  const float inverse = 1.0f / scale;
  for (int64_t i = 0; i < x.size; ++i) x[i] = truncf(Clamp(x[i] * inverse, -128, 127)) * scale;
}

// The same kernel with an FP8 cache.
KVTUNE_HOST_DEVICE inline void VllmFp8(Row x) {
  const float largest = fabsf(ExtremeOf(x)) / 448.0f;
  const float scale = largest > 1e-6f ? largest : 1e-6f;
  const float inverse = 1.0f / scale;
  for (int64_t i = 0; i < x.size; ++i) x[i] = RoundToE4m3(x[i] * inverse) * scale;
}

// vllm/v1/attention/ops/int4_per_token_head.py: levels 0..15 with an integer zero, which is kept in
// the low four bits of the scale; the scale is read back without them.
KVTUNE_HOST_DEVICE inline void VllmInt4(Row x) {
  const RowRange range = RangeOf(x);
  const float width = (range.high - range.low) / 15.0f;
  const float scale = width > 1e-6f ? width : 1e-6f;
  const float zero = Clamp(RoundHalfAway(-range.low / scale), 0, 15);
  const float inverse = 1.0f / scale;
  const float stored_scale = FromBits(BitsOf(scale) & ~0xfu);
  for (int64_t i = 0; i < x.size; ++i) {
    x[i] = (Clamp(RoundHalfAway(x[i] * inverse + zero), 0, 15) - zero) * stored_scale;
  }
}

// The row's length; the row becomes a unit vector.
KVTUNE_HOST_DEVICE inline float Normalize(Row x) {
  float sum = 0;
  for (int64_t i = 0; i < x.size; ++i) sum += x[i] * x[i];
  const float norm = sqrtf(sum);
  for (int64_t i = 0; i < x.size; ++i) x[i] = x[i] / (norm + 1e-8f);
  return norm;
}

// vLLM's TurboQuant keys (vllm/v1/attention/ops/triton_turboquant_store.py and _decode.py): x is a
// rotated unit vector; its elements go to the nearest of 2^bits rising levels (lloyd_max.h), the
// middle up, and what is read is scaled back to length 1 (norm correction), then by `norm`.
KVTUNE_HOST_DEVICE inline void TurboquantKey(Row x, int bits, float norm, const float* levels) {
  const int count = 1 << bits;
  float sum = 0;
  for (int64_t i = 0; i < x.size; ++i) {
    float nearest = levels[0];
    for (int j = 1; j < count; ++j)
      nearest = x[i] >= (levels[j - 1] + levels[j]) / 2 ? levels[j] : nearest;
    x[i] = nearest;
    sum += nearest * nearest;
  }
  const float inverse = 1.0f / sqrtf(sum + 1e-16f);
  const float stored_norm = RoundToHalf(norm);
  for (int64_t i = 0; i < x.size; ++i) x[i] = stored_norm * (x[i] * inverse);
}

// The same kernels' values: offset by the minimum.
KVTUNE_HOST_DEVICE inline void TurboquantValue(Row x, int bits) {
  const float levels = static_cast<float>((1 << bits) - 1);
  const RowRange range = RangeOf(x);
  const float width = (range.high - range.low) / levels;
  const float scale = width > 1e-8f ? width : 1e-8f;
  const float stored_scale = RoundToHalf(scale), stored_low = RoundToHalf(range.low);
  for (int64_t i = 0; i < x.size; ++i) {
    x[i] = LevelOf((x[i] - range.low) / scale + 0.5f, levels) * stored_scale + stored_low;
  }
}

// A saturating cast of x / scale: csrc/quantization/w8a8/fp8 of vLLM, and as everywhere.
KVTUNE_HOST_DEVICE inline void Fp8E4m3(Row x, float scale) {
  for (int64_t i = 0; i < x.size; ++i) x[i] = RoundToE4m3(x[i] / scale) * scale;
}

KVTUNE_HOST_DEVICE inline void Fp8E5m2(Row x, float scale) {
  for (int64_t i = 0; i < x.size; ++i) x[i] = RoundToE5m2(x[i] / scale) * scale;
}

// E2M1 with an E4M3 scale: mlx/backend/cpu/quantized.cpp (fp_quantize_dequantize, group 16), and
// csrc/nvfp4_kv_cache_kernels.cu of vLLM, which also has the global scale. vLLM takes approximate
// reciprocals where this divides.
KVTUNE_HOST_DEVICE inline void Nvfp4(Row x, float global_scale) {
  const float scale = RoundToE4m3(fabsf(ExtremeOf(x)) / 6.0f / global_scale) * global_scale;
  for (int64_t i = 0; i < x.size; ++i) x[i] = scale == 0 ? 0.0f : RoundToE2m1(x[i] / scale) * scale;
}

// OCP Microscaling Formats 1.0, 6.3: scale = 2^(floor(log2 max|x|) - 2), E8M0; E2M1 half to even.
KVTUNE_HOST_DEVICE inline void Mxfp4(Row x) {
  const float largest = fabsf(ExtremeOf(x));
  const int exponent = Exponent(largest) - 2;
  const float scale = PowerOfTwo(exponent > -126 ? exponent : -126);
  for (int64_t i = 0; i < x.size; ++i) x[i] = RoundToE2m1(x[i] / scale) * scale;
}

// sglang/srt/layers/quantization/kvfp4_tensor.py, FP4MXBlock16KVQuantizeUtil: the smallest power of
// two under which max|x| / 6 fits; ties go up.
KVTUNE_HOST_DEVICE inline void SglangFp4(Row x) {
  const float sixth = fabsf(ExtremeOf(x)) / 6.0f;
  // log2 in double, then rounded: float32's log2 as nearly as devices agree on it.
  const auto logarithm =
      static_cast<float>(log2(static_cast<double>(sixth > 1e-10f ? sixth : 1e-10f)));
  const float scale = PowerOfTwo(static_cast<int>(ceilf(logarithm)));
  const float bounds[] = {0.25f, 0.75f, 1.25f, 1.75f, 2.5f, 3.5f, 5.0f};
  const float steps[] = {0.5f, 0.5f, 0.5f, 0.5f, 1.0f, 1.0f, 2.0f};
  for (int64_t i = 0; i < x.size; ++i) {
    const float scaled = fabsf(x[i] / scale);
    float magnitude = 0;
    for (int b = 0; b < 7; ++b) magnitude += scaled >= bounds[b] ? steps[b] : 0.0f;
    x[i] = (x[i] < 0 ? -magnitude : magnitude) * scale;
  }
}

// lmdeploy/pytorch/kernels/cuda/fill_kv_cache.py, _quant_int8 and _quant_int4: the zero is not
// rounded; scale and zero are stored in 16 bits. (Where the row is constant LMDeploy divides by 0;
// a zero beyond half precision is infinite here as there.)
KVTUNE_HOST_DEVICE inline void Lmdeploy(Row x, int bits) {
  const float levels = static_cast<float>((1 << bits) - 1);
  const RowRange range = RangeOf(x);
  const float scale = (range.high - range.low) / levels;
  if (scale == 0) return;
  const float zero = -range.low / scale;
  const float stored_scale = RoundToHalf(scale), stored_zero = RoundToHalf(zero);
  for (int64_t i = 0; i < x.size; ++i) {
    x[i] = (LevelOf(x[i] / scale + zero + 0.5f, levels) - stored_zero) * stored_scale;
  }
}

// ggml/src/ggml-quants.c, quantize_row_q8_0_ref.
KVTUNE_HOST_DEVICE inline void GgmlQ8_0(Row x) {
  const float d = fabsf(ExtremeOf(x)) / 127.0f;
  const float inverse = Reciprocal(d), stored = RoundToHalf(d);
  for (int64_t i = 0; i < x.size; ++i) x[i] = Clamp(roundf(x[i] * inverse), -127, 127) * stored;
}

// quantize_row_q4_0_ref and q5_0: d = the extreme / -2^(bits-1), so that it is a level itself.
KVTUNE_HOST_DEVICE inline void GgmlSymmetric(Row x, int bits) {
  const float half = static_cast<float>(1 << (bits - 1));
  const float d = ExtremeOf(x) / -half;
  const float inverse = Reciprocal(d), stored = RoundToHalf(d);
  for (int64_t i = 0; i < x.size; ++i) {
    x[i] = (LevelOf(x[i] * inverse + (half + 0.5f), 2 * half - 1) - half) * stored;
  }
}

// quantize_row_q4_1_ref and q5_1.
KVTUNE_HOST_DEVICE inline void GgmlAsymmetric(Row x, int bits) {
  const float levels = static_cast<float>((1 << bits) - 1);
  const RowRange range = RangeOf(x);
  const float d = (range.high - range.low) / levels;
  const float inverse = Reciprocal(d), stored = RoundToHalf(d), low = RoundToHalf(range.low);
  for (int64_t i = 0; i < x.size; ++i) {
    x[i] = LevelOf((x[i] - range.low) * inverse + 0.5f, levels) * stored + low;
  }
}

// ik_llama.cpp, quantize_row_q6_0_ref: as q4_0, then the scale that fits best, weighted by x^2;
// sums run over element j of both halves together. (Its CUDA kernel keeps the first scale.)
KVTUNE_HOST_DEVICE inline void GgmlQ6_0(Row x) {
  const float d = ExtremeOf(x) / -32.0f;
  const float inverse = Reciprocal(d);
  const int64_t half = x.size / 2;
  float sum_qx = 0, sum_q2 = 0;
  for (int64_t j = 0; j < half; ++j) {
    const float x0 = x[j] * inverse, x1 = x[j + half] * inverse;
    const float w0 = x0 * x0, w1 = x1 * x1;
    const float q0 = LevelOf(x0 + 32.5f, 63) - 32.0f, q1 = LevelOf(x1 + 32.5f, 63) - 32.0f;
    sum_qx += w0 * x[j] * q0 + w1 * x[j + half] * q1;
    sum_q2 += w0 * q0 * q0 + w1 * q1 * q1;
  }
  // The smallest d that a half can hold; under it the sums are not finite.
  const bool is_tiny = fabsf(d) < PowerOfTwo(-25);
  const float stored = is_tiny ? 0.0f : RoundToHalf(sum_q2 > 0 ? sum_qx / sum_q2 : d);
  for (int64_t i = 0; i < x.size; ++i) {
    x[i] = (LevelOf(x[i] * inverse + 32.5f, 63) - 32.0f) * stored;
  }
}

// quantize_row_iq4_nl_ref: 16 unequal levels; the scale that fits the chosen levels best, weighted
// by x^2.
KVTUNE_HOST_DEVICE inline float Iq4NlLevel(float x) {
  constexpr float kLevels[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                 1,    13,   25,  38,  53,  69,  89,  113};
  if (!(x > kLevels[0])) return kLevels[0];
  for (int above = 1; above < 16; ++above) {
    if (x < kLevels[above]) {
      return x - kLevels[above - 1] < kLevels[above] - x ? kLevels[above - 1] : kLevels[above];
    }
  }
  return kLevels[15];
}

KVTUNE_HOST_DEVICE inline void GgmlIq4Nl(Row x) {
  const float extreme = ExtremeOf(x);
  if (fabsf(extreme) < 1e-15f) {
    for (int64_t i = 0; i < x.size; ++i) x[i] = 0;
    return;
  }
  const float inverse = 1.0f / (extreme / -127.0f);
  float sum_qx = 0, sum_q2 = 0;
  for (int64_t i = 0; i < x.size; ++i) {
    const float q = Iq4NlLevel(inverse * x[i]);
    const float weight = x[i] * x[i];
    sum_qx += weight * q * x[i];
    sum_q2 += weight * q * q;
  }
  const float stored = RoundToHalf(sum_q2 > 0 ? sum_qx / sum_q2 : 0.0f);
  for (int64_t i = 0; i < x.size; ++i) x[i] = Iq4NlLevel(inverse * x[i]) * stored;
}

// mlx/backend/cpu/quantized.cpp, quantize and dequantize, mode affine: the edge that is farther
// from zero becomes a level itself.
KVTUNE_HOST_DEVICE inline void MlxAffine(Row x, int bits) {
  const float levels = static_cast<float>((1 << bits) - 1);
  const RowRange range = RangeOf(x);
  const bool low_is_farther = fabsf(range.low) > fabsf(range.high);
  const float width = (range.high - range.low) / levels;
  float scale = width > 1e-7f ? width : 1e-7f;
  scale = low_is_farther ? scale : -scale;
  const float edge = low_is_farther ? range.low : range.high;
  const float steps = RoundHalfToEven(edge / scale);
  const float bias = steps != 0 ? edge : 0.0f;
  scale = steps != 0 ? edge / steps : scale;
  for (int64_t i = 0; i < x.size; ++i) {
    x[i] = Clamp(RoundHalfToEven((x[i] - bias) / scale), 0, levels) * scale + bias;
  }
}

// shrink_lp_op of hqq/core/optimize.py with p = 0.7, beta = 10: an error's part that counts as an
// outlier.
KVTUNE_HOST_DEVICE inline float HqqShrunk(float error) {
  const float magnitude = fabsf(error);
  if (magnitude < 0.17f) return 0.0f;  // where the power is larger than the magnitude
  // The power in double: devices agree on it.
  const float shrunk = magnitude - 0.1f * static_cast<float>(pow(static_cast<double>(magnitude),
                                                                 static_cast<double>(-0.3f)));
  return shrunk > 0 ? (error < 0 ? -shrunk : shrunk) : 0.0f;
}

// hqq/core/quantize.py and optimize.py (optimize_weights_proximal_legacy, float32 as on a CPU): 20
// rounds that improve the zero. HQQ stops earlier where the mean error of all rows of one call has
// stopped falling; here no row depends on what is quantized beside it.
KVTUNE_HOST_DEVICE inline void Hqq(Row x, int bits) {
  const float levels = static_cast<float>((1 << bits) - 1);
  const RowRange range = RangeOf(x);
  const float width = range.high - range.low;
  float scale = fabsf(width) <= 1e-4f ? 1.0f : levels / width;
  scale = scale < 2e4f ? scale : 2e4f;
  const auto size = static_cast<float>(x.size);
  float zero = -range.low * scale;
  for (int round = 0; round < 20; ++round) {
    float sum = 0;
    for (int64_t i = 0; i < x.size; ++i) {
      const float q = Clamp(RoundHalfToEven(x[i] * scale + zero), 0, levels);
      sum += q - (x[i] - HqqShrunk(x[i] - (q - zero) / scale)) * scale;
    }
    const float before = zero;
    zero = sum / size;
    if (zero == before) break;  // at rest: the rounds left would repeat this one
  }
  const float inverse = 1.0f / scale;
  for (int64_t i = 0; i < x.size; ++i) {
    x[i] = (Clamp(RoundHalfToEven(x[i] * scale + zero), 0, levels) - zero) * inverse;
  }
}

// optimum/quanto, MaxOptimizer with quantize_affine: offset by the minimum, in float.
KVTUNE_HOST_DEVICE inline void Quanto(Row x, int bits) {
  const float levels = static_cast<float>((1 << bits) - 1);
  const RowRange range = RangeOf(x);
  const float scale = (range.high - range.low) / levels;
  for (int64_t i = 0; i < x.size; ++i) {
    const float q =
        scale == 0 ? 0.0f : Clamp(RoundHalfToEven((x[i] - range.low) / scale), 0, levels);
    x[i] = scale * q + range.low;
  }
}

// exllamav3/exllamav3_ext/cache/q_cache_kernels.cuh, without its compander: the middles of 2^bits
// equal steps over [-s, s].
KVTUNE_HOST_DEVICE inline void Exllama(Row x, int bits) {
  const auto half = static_cast<float>(1 << (bits - 1));
  const float scale = fabsf(ExtremeOf(x)) + 1e-10f;
  const float inverse = 1.0f / scale;
  const float step = RoundToHalf(scale) / half;
  for (int64_t i = 0; i < x.size; ++i) {
    x[i] = (Clamp(floorf(x[i] * inverse * half + half), 0, 2 * half - 1) - (half - 0.5f)) * step;
  }
}

// The arithmetic of a format on a row. scale: read by formats whose scale (or norm) is not of the
// row as it is here; levels: by those with levels of their own, 2^bits rising ones.
KVTUNE_HOST_DEVICE inline void RoundTripRow(Row x, Numerics numerics, int bits, float scale,
                                            const float* levels = nullptr) {
  switch (numerics) {
    case Numerics::kExact:
      return;
    case Numerics::kKvtunerAsymmetric:
      return KvtunerAsymmetric(x, bits);
    case Numerics::kKvtunerSymmetric:
      return KvtunerSymmetric(x, bits);
    case Numerics::kVllmInt8:
      return VllmInt8(x);
    case Numerics::kVllmInt4:
      return VllmInt4(x);
    case Numerics::kVllmFp8:
      return VllmFp8(x);
    case Numerics::kTurboquantKey:
      return TurboquantKey(x, bits, scale, levels);
    case Numerics::kTurboquantValue:
      return TurboquantValue(x, bits);
    case Numerics::kFp8E4m3:
      return Fp8E4m3(x, scale);
    case Numerics::kFp8E5m2:
      return Fp8E5m2(x, scale);
    case Numerics::kNvfp4:
      return Nvfp4(x, scale);
    case Numerics::kMxfp4:
      return Mxfp4(x);
    case Numerics::kSglangFp4:
      return SglangFp4(x);
    case Numerics::kLmdeploy:
      return Lmdeploy(x, bits);
    case Numerics::kGgmlQ8_0:
      return GgmlQ8_0(x);
    case Numerics::kGgmlQ6_0:
      return GgmlQ6_0(x);
    case Numerics::kGgmlQ5_1:
    case Numerics::kGgmlQ4_1:
      return GgmlAsymmetric(x, bits);
    case Numerics::kGgmlQ5_0:
    case Numerics::kGgmlQ4_0:
      return GgmlSymmetric(x, bits);
    case Numerics::kGgmlIq4Nl:
      return GgmlIq4Nl(x);
    case Numerics::kMlxAffine:
      return MlxAffine(x, bits);
    case Numerics::kHqq:
      return Hqq(x, bits);
    case Numerics::kQuanto:
      return Quanto(x, bits);
    case Numerics::kExllama:
      return Exllama(x, bits);
  }
}

}  // namespace kvtune
