// Quantization of one row, for every arithmetic of the format table.
//
// EncodeRow turns values into what the engine stores (row_codes.h), DecodeRow turns that back into
// values, and RoundTripRow is one after the other. The CPU's and CUDA's kernels both compile this
// file, so that they give the same bits: every operation rounds to float32, and nothing is fused
// (-ffp-contract=off, -fmad=false).
//
// Each pair of functions names the engine's source that it follows. Parameters are stored as the
// engine stores them; where an engine stores them in the model's own type (KVTuner, MLX, HQQ,
// quanto) they stay float32. A row too small to have a scale gives zeros (or its offset), also
// where a kernel would make NaN of 0 times infinity. An integer code cannot be NaN: such an element
// is stored as 0, as a cast does it on a GPU.
#pragma once

#include <cmath>

#include "lib/core/kv_format.h"
#include "lib/kernels/row_codes.h"
#include "lib/kernels/small_floats.h"

namespace kvtune {

inline constexpr int kMostLevels = 16;

// The arithmetic of one row.
struct RowArithmetic {
  Numerics numerics = Numerics::kExact;
  int bits = 16;
  // A scale that is not of the row: the static one of kFp8E4m3, kFp8E5m2 and kNvfp4, and the
  // vector's length for kTurboquantKey, whose rows are unit vectors.
  float scale = 1;
  const float* levels = nullptr;  // for kTurboquantKey: 2^bits rising ones, at most kMostLevels
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

// 1 / x, but 0 where that is no number: of 0, and of subnormals that would give infinity.
KVTUNE_HOST_DEVICE inline float Reciprocal(float x) {
  const float inverse = x != 0 ? 1.0f / x : 0.0f;
  return fabsf(inverse) < FromBits(0x7f800000u) ? inverse : 0.0f;
}

KVTUNE_HOST_DEVICE inline float RoundHalfAway(float x) {
  return truncf(x >= 0 ? x + 0.5f : x - 0.5f);
}

// The row's length; the row becomes a unit vector.
KVTUNE_HOST_DEVICE inline float Normalize(Row x) {
  float sum = 0;
  for (int64_t i = 0; i < x.size; ++i) sum += x[i] * x[i];
  const float norm = sqrtf(sum);
  for (int64_t i = 0; i < x.size; ++i) x[i] = x[i] / (norm + 1e-8f);
  return norm;
}

// The highest level of an unsigned integer of `bits` bits, and of a signed one.
KVTUNE_HOST_DEVICE inline float HighestLevel(int bits) {
  return static_cast<float>((1 << bits) - 1);
}
KVTUNE_HOST_DEVICE inline float HighestSigned(int bits) {
  return static_cast<float>((1 << (bits - 1)) - 1);
}

// Ways back that several engines share.

template <typename Codes>
KVTUNE_HOST_DEVICE inline void DecodeSigned(Codes codes, int bits, float scale, Row x) {
  for (int64_t i = 0; i < x.size; ++i) x[i] = SignedValue(codes.Get(i), bits) * scale;
}

template <typename Codes>
KVTUNE_HOST_DEVICE inline void DecodeAroundZero(Codes codes, float zero, float scale, Row x) {
  for (int64_t i = 0; i < x.size; ++i) x[i] = (LevelValue(codes.Get(i)) - zero) * scale;
}

template <typename Codes>
KVTUNE_HOST_DEVICE inline void DecodeFromMinimum(Codes codes, float minimum, float scale, Row x) {
  for (int64_t i = 0; i < x.size; ++i) x[i] = LevelValue(codes.Get(i)) * scale + minimum;
}

template <typename Codes>
KVTUNE_HOST_DEVICE inline void DecodeE4m3(Codes codes, float scale, Row x) {
  for (int64_t i = 0; i < x.size; ++i) x[i] = E4m3Value(codes.Get(i)) * scale;
}

template <typename Codes>
KVTUNE_HOST_DEVICE inline void DecodeE5m2(Codes codes, float scale, Row x) {
  for (int64_t i = 0; i < x.size; ++i) x[i] = E5m2Value(codes.Get(i)) * scale;
}

template <typename Codes>
KVTUNE_HOST_DEVICE inline void DecodeE2m1(Codes codes, float scale, Row x) {
  for (int64_t i = 0; i < x.size; ++i) x[i] = E2m1Value(codes.Get(i)) * scale;
}

// The values as they are; a cache of a narrower type rounds them on its own.
template <typename Codes>
KVTUNE_HOST_DEVICE inline RowParameters EncodeExact(Row x, Codes codes) {
  for (int64_t i = 0; i < x.size; ++i) codes.Set(i, BitsOf(x[i]));
  return {};
}

template <typename Codes>
KVTUNE_HOST_DEVICE inline void DecodeExact(Codes codes, Row x) {
  for (int64_t i = 0; i < x.size; ++i) x[i] = FromBits(codes.Get(i));
}

// arXiv 2502.04420, KVTuner's "vanilla" cache: see fake_quantize_cpu.h.
template <typename Codes>
KVTUNE_HOST_DEVICE inline RowParameters EncodeKvtunerAsymmetric(Row x, int bits, Codes codes) {
  const float q_max = HighestSigned(bits), q_min = -q_max - 1;
  const RowRange range = RangeOf(x);
  const float width = range.high - range.low;
  const float scale = (width > 1e-5f ? width : 1e-5f) / (q_max - q_min);
  const float zero = RoundHalfToEven(range.low / scale) - q_min;
  for (int64_t i = 0; i < x.size; ++i)
    codes.Set(i, SignedCode(RoundHalfToEven(x[i] / scale - zero), q_min, q_max, bits));
  return {scale, zero};
}

template <typename Codes>
KVTUNE_HOST_DEVICE inline void DecodeKvtunerAsymmetric(Codes codes, RowParameters row, int bits,
                                                       Row x) {
  for (int64_t i = 0; i < x.size; ++i)
    x[i] = (SignedValue(codes.Get(i), bits) + row.offset) * row.scale;
}

// Its symmetric mode: scale = max(max|x|, 1e-5) / q_max.
template <typename Codes>
KVTUNE_HOST_DEVICE inline RowParameters EncodeKvtunerSymmetric(Row x, int bits, Codes codes) {
  const float q_max = HighestSigned(bits), q_min = -q_max - 1;
  const float largest = fabsf(ExtremeOf(x));
  const float scale = (largest > 1e-5f ? largest : 1e-5f) / q_max;
  for (int64_t i = 0; i < x.size; ++i)
    codes.Set(i, SignedCode(RoundHalfToEven(x[i] / scale), q_min, q_max, bits));
  return {scale};
}

// vllm/v1/attention/ops/triton_reshape_and_cache_flash.py, _reshape_cache_per_token_head: the
// scaled value is stored to an int8 pointer, a cast that truncates.
template <typename Codes>
KVTUNE_HOST_DEVICE inline RowParameters EncodeVllmInt8(Row x, Codes codes) {
  const float largest = fabsf(ExtremeOf(x)) / 127.0f;
  const float scale = largest > 1e-6f ? largest : 1e-6f;
  const float inverse = 1.0f / scale;
  for (int64_t i = 0; i < x.size; ++i) codes.Set(i, SignedCode(x[i] * inverse, -128, 127, 8));
  return {scale};
}

// The same kernel with an FP8 cache.
template <typename Codes>
KVTUNE_HOST_DEVICE inline RowParameters EncodeVllmFp8(Row x, Codes codes) {
  const float largest = fabsf(ExtremeOf(x)) / 448.0f;
  const float scale = largest > 1e-6f ? largest : 1e-6f;
  const float inverse = 1.0f / scale;
  for (int64_t i = 0; i < x.size; ++i) codes.Set(i, E4m3Code(x[i] * inverse));
  return {scale};
}

// vllm/v1/attention/ops/int4_per_token_head.py: levels 0..15 with an integer zero, which is kept in
// the low four bits of the scale; the scale is read back without them.
template <typename Codes>
KVTUNE_HOST_DEVICE inline RowParameters EncodeVllmInt4(Row x, Codes codes) {
  const RowRange range = RangeOf(x);
  const float width = (range.high - range.low) / 15.0f;
  const float scale = width > 1e-6f ? width : 1e-6f;
  const uint32_t zero = LevelCode(RoundHalfAway(-range.low / scale), 15);
  const float inverse = 1.0f / scale;
  for (int64_t i = 0; i < x.size; ++i)
    codes.Set(i, LevelCode(RoundHalfAway(x[i] * inverse + LevelValue(zero)), 15));
  return {FromBits((BitsOf(scale) & ~0xfu) | zero)};
}

template <typename Codes>
KVTUNE_HOST_DEVICE inline void DecodeVllmInt4(Codes codes, RowParameters row, Row x) {
  const uint32_t bits = BitsOf(row.scale);
  DecodeAroundZero(codes, LevelValue(bits & 0xfu), FromBits(bits & ~0xfu), x);
}

// vLLM's TurboQuant keys (vllm/v1/attention/ops/triton_turboquant_store.py and _decode.py): x is a
// rotated unit vector; its elements go to the nearest of 2^bits rising levels (lloyd_max.h), the
// middle up, and what is read is scaled back to length 1 (norm correction), then by the norm.
template <typename Codes>
KVTUNE_HOST_DEVICE inline RowParameters EncodeTurboquantKey(Row x, const RowArithmetic& arithmetic,
                                                            Codes codes) {
  const int middles = (1 << arithmetic.bits) - 1;
  const float* levels = arithmetic.levels;
  float middle[kMostLevels - 1];
  for (int j = 0; j < middles; ++j) middle[j] = (levels[j] + levels[j + 1]) / 2;
  for (int64_t i = 0; i < x.size; ++i) {
    uint32_t nearest = 0;
    for (int j = 0; j < middles; ++j) nearest += x[i] >= middle[j] ? 1u : 0u;
    codes.Set(i, nearest);
  }
  return {RoundToHalf(arithmetic.scale)};
}

template <typename Codes>
KVTUNE_HOST_DEVICE inline void DecodeTurboquantKey(Codes codes, RowParameters row,
                                                   const float* levels, Row x) {
  float sum = 0;
  for (int64_t i = 0; i < x.size; ++i) {
    x[i] = levels[codes.Get(i)];
    sum += x[i] * x[i];
  }
  const float inverse = 1.0f / sqrtf(sum + 1e-16f);
  for (int64_t i = 0; i < x.size; ++i) x[i] = row.scale * (x[i] * inverse);
}

// The same kernels' values: offset by the minimum.
template <typename Codes>
KVTUNE_HOST_DEVICE inline RowParameters EncodeTurboquantValue(Row x, int bits, Codes codes) {
  const float highest = HighestLevel(bits);
  const RowRange range = RangeOf(x);
  const float width = (range.high - range.low) / highest;
  const float scale = width > 1e-8f ? width : 1e-8f;
  for (int64_t i = 0; i < x.size; ++i)
    codes.Set(i, LevelCode((x[i] - range.low) / scale + 0.5f, highest));
  return {RoundToHalf(scale), RoundToHalf(range.low)};
}

// A saturating cast of x / scale: csrc/quantization/w8a8/fp8 of vLLM; the other engines do the
// same.
template <typename Codes>
KVTUNE_HOST_DEVICE inline RowParameters EncodeFp8E4m3(Row x, float scale, Codes codes) {
  for (int64_t i = 0; i < x.size; ++i) codes.Set(i, E4m3Code(x[i] / scale));
  return {};
}

template <typename Codes>
KVTUNE_HOST_DEVICE inline RowParameters EncodeFp8E5m2(Row x, float scale, Codes codes) {
  for (int64_t i = 0; i < x.size; ++i) codes.Set(i, E5m2Code(x[i] / scale));
  return {};
}

// E2M1 with an E4M3 scale: mlx/backend/cpu/quantized.cpp (fp_quantize_dequantize, group 16), and
// csrc/nvfp4_kv_cache_kernels.cu of vLLM, which also has the global scale. vLLM takes approximate
// reciprocals where this divides.
template <typename Codes>
KVTUNE_HOST_DEVICE inline RowParameters EncodeNvfp4(Row x, float global_scale, Codes codes) {
  const float stored = RoundToE4m3(fabsf(ExtremeOf(x)) / 6.0f / global_scale);
  const float scale = stored * global_scale;
  for (int64_t i = 0; i < x.size; ++i) codes.Set(i, scale == 0 ? 0 : E2m1Code(x[i] / scale));
  return {stored};
}

// OCP Microscaling Formats 1.0, 6.3: scale = 2^(floor(log2 max|x|) - 2), E8M0; E2M1 half to even.
template <typename Codes>
KVTUNE_HOST_DEVICE inline RowParameters EncodeMxfp4(Row x, Codes codes) {
  const int exponent = Exponent(ExtremeOf(x)) - 2;
  const float scale = PowerOfTwo(exponent > -126 ? exponent : -126);
  for (int64_t i = 0; i < x.size; ++i) codes.Set(i, E2m1Code(x[i] / scale));
  return {scale};
}

// sglang/srt/layers/quantization/kvfp4_tensor.py, FP4MXBlock16KVQuantizeUtil: the smallest power of
// two under which max|x| / 6 fits; ties go up, so that the bounds passed count the magnitude's
// bits.
template <typename Codes>
KVTUNE_HOST_DEVICE inline RowParameters EncodeSglangFp4(Row x, Codes codes) {
  const float sixth = fabsf(ExtremeOf(x)) / 6.0f;
  // log2 in double, then rounded: float32's log2 as nearly as devices agree on it.
  const auto logarithm =
      static_cast<float>(log2(static_cast<double>(sixth > 1e-10f ? sixth : 1e-10f)));
  const float scale = PowerOfTwo(static_cast<int>(ceilf(logarithm)));
  const float bounds[] = {0.25f, 0.75f, 1.25f, 1.75f, 2.5f, 3.5f, 5.0f};
  for (int64_t i = 0; i < x.size; ++i) {
    const float scaled = fabsf(x[i] / scale);
    uint32_t magnitude = 0;
    for (int b = 0; b < 7; ++b) magnitude += scaled >= bounds[b] ? 1u : 0u;
    codes.Set(i, magnitude | (x[i] < 0 ? 8u : 0u));
  }
  return {scale};
}

// lmdeploy/pytorch/kernels/cuda/fill_kv_cache.py, _quant_int8 and _quant_int4: the zero is not
// rounded; scale and zero are stored in 16 bits, and a zero beyond half precision is infinite here
// as there. Where the row is constant LMDeploy divides by 0; here level 0 is one scale above the
// zero, and the scale is the constant.
template <typename Codes>
KVTUNE_HOST_DEVICE inline RowParameters EncodeLmdeploy(Row x, int bits, Codes codes) {
  const float highest = HighestLevel(bits);
  const RowRange range = RangeOf(x);
  const float scale = (range.high - range.low) / highest;
  if (scale == 0) {
    for (int64_t i = 0; i < x.size; ++i) codes.Set(i, 0);
    return {RoundToHalf(range.low), -1};
  }
  const float zero = -range.low / scale;
  for (int64_t i = 0; i < x.size; ++i) codes.Set(i, LevelCode(x[i] / scale + zero + 0.5f, highest));
  return {RoundToHalf(scale), RoundToHalf(zero)};
}

// ggml/src/ggml-quants.c, quantize_row_q8_0_ref.
template <typename Codes>
KVTUNE_HOST_DEVICE inline RowParameters EncodeGgmlQ8_0(Row x, Codes codes) {
  const float d = fabsf(ExtremeOf(x)) / 127.0f;
  const float inverse = Reciprocal(d);
  for (int64_t i = 0; i < x.size; ++i)
    codes.Set(i, SignedCode(roundf(x[i] * inverse), -127, 127, 8));
  return {RoundToHalf(d)};
}

// quantize_row_q4_0_ref and q5_0: d = the extreme / -2^(bits-1), so that it is a level itself.
template <typename Codes>
KVTUNE_HOST_DEVICE inline RowParameters EncodeGgmlSymmetric(Row x, int bits, Codes codes) {
  const float half = static_cast<float>(1 << (bits - 1));
  const float d = ExtremeOf(x) / -half;
  const float inverse = Reciprocal(d);
  for (int64_t i = 0; i < x.size; ++i)
    codes.Set(i, LevelCode(x[i] * inverse + (half + 0.5f), 2 * half - 1));
  return {RoundToHalf(d)};
}

// Of these and of q6_0.
template <typename Codes>
KVTUNE_HOST_DEVICE inline void DecodeGgmlSymmetric(Codes codes, RowParameters row, int bits,
                                                   Row x) {
  DecodeAroundZero(codes, static_cast<float>(1 << (bits - 1)), row.scale, x);
}

// quantize_row_q4_1_ref and q5_1.
template <typename Codes>
KVTUNE_HOST_DEVICE inline RowParameters EncodeGgmlAsymmetric(Row x, int bits, Codes codes) {
  const float highest = HighestLevel(bits);
  const RowRange range = RangeOf(x);
  const float d = (range.high - range.low) / highest;
  const float inverse = Reciprocal(d);
  for (int64_t i = 0; i < x.size; ++i)
    codes.Set(i, LevelCode((x[i] - range.low) * inverse + 0.5f, highest));
  return {RoundToHalf(d), RoundToHalf(range.low)};
}

// ik_llama.cpp, quantize_row_q6_0_ref: as q4_0, then the scale that fits best, weighted by x^2;
// sums run over element j of both halves together. (Its CUDA kernel keeps the first scale.)
template <typename Codes>
KVTUNE_HOST_DEVICE inline RowParameters EncodeGgmlQ6_0(Row x, Codes codes) {
  const float d = ExtremeOf(x) / -32.0f;
  const float inverse = Reciprocal(d);
  const int64_t half = x.size / 2;
  float sum_qx = 0, sum_q2 = 0;
  for (int64_t j = 0; j < half; ++j) {
    const float x0 = x[j] * inverse, x1 = x[j + half] * inverse;
    const float w0 = x0 * x0, w1 = x1 * x1;
    const float q0 = LevelValue(LevelCode(x0 + 32.5f, 63)) - 32.0f;
    const float q1 = LevelValue(LevelCode(x1 + 32.5f, 63)) - 32.0f;
    sum_qx += w0 * x[j] * q0 + w1 * x[j + half] * q1;
    sum_q2 += w0 * q0 * q0 + w1 * q1 * q1;
  }
  for (int64_t i = 0; i < x.size; ++i) codes.Set(i, LevelCode(x[i] * inverse + 32.5f, 63));
  // The smallest d that a half can hold; under it the sums are not finite.
  const bool is_tiny = fabsf(d) < PowerOfTwo(-25);
  return {is_tiny ? 0.0f : RoundToHalf(sum_q2 > 0 ? sum_qx / sum_q2 : d)};
}

// quantize_row_iq4_nl_ref: 16 unequal levels; the scale that fits the chosen levels best, weighted
// by x^2.
KVTUNE_HOST_DEVICE inline float Iq4NlLevel(uint32_t code) {
  constexpr float kLevels[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                 1,    13,   25,  38,  53,  69,  89,  113};
  return kLevels[code];
}

KVTUNE_HOST_DEVICE inline uint32_t Iq4NlCode(float x) {
  if (!(x > Iq4NlLevel(0))) return 0;
  for (uint32_t above = 1; above < 16; ++above) {
    if (x < Iq4NlLevel(above)) {
      return x - Iq4NlLevel(above - 1) < Iq4NlLevel(above) - x ? above - 1 : above;
    }
  }
  return 15;
}

template <typename Codes>
KVTUNE_HOST_DEVICE inline RowParameters EncodeGgmlIq4Nl(Row x, Codes codes) {
  const float extreme = ExtremeOf(x);
  if (fabsf(extreme) < 1e-15f) {
    for (int64_t i = 0; i < x.size; ++i)
      codes.Set(i, 8);  // any level times 0; this one is positive
    return {};
  }
  const float inverse = 1.0f / (extreme / -127.0f);
  float sum_qx = 0, sum_q2 = 0;
  for (int64_t i = 0; i < x.size; ++i) {
    const uint32_t code = Iq4NlCode(inverse * x[i]);
    const float q = Iq4NlLevel(code);
    const float weight = x[i] * x[i];
    sum_qx += weight * q * x[i];
    sum_q2 += weight * q * q;
    codes.Set(i, code);
  }
  return {RoundToHalf(sum_q2 > 0 ? sum_qx / sum_q2 : 0.0f)};
}

template <typename Codes>
KVTUNE_HOST_DEVICE inline void DecodeGgmlIq4Nl(Codes codes, RowParameters row, Row x) {
  for (int64_t i = 0; i < x.size; ++i) x[i] = Iq4NlLevel(codes.Get(i)) * row.scale;
}

// mlx/backend/cpu/quantized.cpp, quantize and dequantize, mode affine: the edge that is farther
// from zero becomes a level itself.
template <typename Codes>
KVTUNE_HOST_DEVICE inline RowParameters EncodeMlxAffine(Row x, int bits, Codes codes) {
  const float highest = HighestLevel(bits);
  const RowRange range = RangeOf(x);
  const bool low_is_farther = fabsf(range.low) > fabsf(range.high);
  const float width = (range.high - range.low) / highest;
  float scale = width > 1e-7f ? width : 1e-7f;
  scale = low_is_farther ? scale : -scale;
  const float edge = low_is_farther ? range.low : range.high;
  const float steps = RoundHalfToEven(edge / scale);
  const float bias = steps != 0 ? edge : 0.0f;
  scale = steps != 0 ? edge / steps : scale;
  for (int64_t i = 0; i < x.size; ++i)
    codes.Set(i, LevelCode(RoundHalfToEven((x[i] - bias) / scale), highest));
  return {scale, bias};
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
// stopped falling; here no row depends on what is quantized beside it. HQQ stores the scale's
// inverse.
template <typename Codes>
KVTUNE_HOST_DEVICE inline RowParameters EncodeHqq(Row x, int bits, Codes codes) {
  const float highest = HighestLevel(bits);
  const RowRange range = RangeOf(x);
  const float width = range.high - range.low;
  float scale = fabsf(width) <= 1e-4f ? 1.0f : highest / width;
  scale = scale < 2e4f ? scale : 2e4f;
  const auto size = static_cast<float>(x.size);
  float zero = -range.low * scale;
  for (int round = 0; round < 20; ++round) {
    float sum = 0;
    for (int64_t i = 0; i < x.size; ++i) {
      const float q = Clamp(RoundHalfToEven(x[i] * scale + zero), 0, highest);
      sum += q - (x[i] - HqqShrunk(x[i] - (q - zero) / scale)) * scale;
    }
    const float before = zero;
    zero = sum / size;
    if (zero == before) break;  // at rest: the rounds left would repeat this one
  }
  for (int64_t i = 0; i < x.size; ++i)
    codes.Set(i, LevelCode(RoundHalfToEven(x[i] * scale + zero), highest));
  return {1.0f / scale, zero};
}

// optimum/quanto, MaxOptimizer with quantize_affine: offset by the minimum, in float. Quanto stores
// the shift that is subtracted, which is the minimum's negative.
template <typename Codes>
KVTUNE_HOST_DEVICE inline RowParameters EncodeQuanto(Row x, int bits, Codes codes) {
  const float highest = HighestLevel(bits);
  const RowRange range = RangeOf(x);
  const float scale = (range.high - range.low) / highest;
  for (int64_t i = 0; i < x.size; ++i) {
    const float level = scale == 0 ? 0.0f : RoundHalfToEven((x[i] - range.low) / scale);
    codes.Set(i, LevelCode(level, highest));
  }
  return {scale, -range.low};
}

// exllamav3/exllamav3_ext/cache/q_cache_kernels.cuh, without its compander: the middles of 2^bits
// equal steps over [-s, s].
template <typename Codes>
KVTUNE_HOST_DEVICE inline RowParameters EncodeExllama(Row x, int bits, Codes codes) {
  const auto half = static_cast<float>(1 << (bits - 1));
  const float scale = fabsf(ExtremeOf(x)) + 1e-10f;
  const float inverse = 1.0f / scale;
  for (int64_t i = 0; i < x.size; ++i)
    codes.Set(i, LevelCode(x[i] * inverse * half + half, 2 * half - 1));
  return {RoundToHalf(scale)};
}

template <typename Codes>
KVTUNE_HOST_DEVICE inline void DecodeExllama(Codes codes, RowParameters row, int bits, Row x) {
  const auto half = static_cast<float>(1 << (bits - 1));
  DecodeAroundZero(codes, half - 0.5f, row.scale / half, x);
}

// Sets the code of each element of x, which it only reads, and gives the row's parameters. `codes`
// may be CodesInPlace{x}: no element is read after its code is set.
template <typename Codes>
KVTUNE_HOST_DEVICE inline RowParameters EncodeRow(Row x, const RowArithmetic& arithmetic,
                                                  Codes codes) {
  const int bits = arithmetic.bits;
  switch (arithmetic.numerics) {
    case Numerics::kExact:
      return EncodeExact(x, codes);
    case Numerics::kKvtunerAsymmetric:
      return EncodeKvtunerAsymmetric(x, bits, codes);
    case Numerics::kKvtunerSymmetric:
      return EncodeKvtunerSymmetric(x, bits, codes);
    case Numerics::kVllmInt8:
      return EncodeVllmInt8(x, codes);
    case Numerics::kVllmInt4:
      return EncodeVllmInt4(x, codes);
    case Numerics::kVllmFp8:
      return EncodeVllmFp8(x, codes);
    case Numerics::kTurboquantKey:
      return EncodeTurboquantKey(x, arithmetic, codes);
    case Numerics::kTurboquantValue:
      return EncodeTurboquantValue(x, bits, codes);
    case Numerics::kFp8E4m3:
      return EncodeFp8E4m3(x, arithmetic.scale, codes);
    case Numerics::kFp8E5m2:
      return EncodeFp8E5m2(x, arithmetic.scale, codes);
    case Numerics::kNvfp4:
      return EncodeNvfp4(x, arithmetic.scale, codes);
    case Numerics::kMxfp4:
      return EncodeMxfp4(x, codes);
    case Numerics::kSglangFp4:
      return EncodeSglangFp4(x, codes);
    case Numerics::kLmdeploy:
      return EncodeLmdeploy(x, bits, codes);
    case Numerics::kGgmlQ8_0:
      return EncodeGgmlQ8_0(x, codes);
    case Numerics::kGgmlQ6_0:
      return EncodeGgmlQ6_0(x, codes);
    case Numerics::kGgmlQ5_1:
    case Numerics::kGgmlQ4_1:
      return EncodeGgmlAsymmetric(x, bits, codes);
    case Numerics::kGgmlQ5_0:
    case Numerics::kGgmlQ4_0:
      return EncodeGgmlSymmetric(x, bits, codes);
    case Numerics::kGgmlIq4Nl:
      return EncodeGgmlIq4Nl(x, codes);
    case Numerics::kMlxAffine:
      return EncodeMlxAffine(x, bits, codes);
    case Numerics::kHqq:
      return EncodeHqq(x, bits, codes);
    case Numerics::kQuanto:
      return EncodeQuanto(x, bits, codes);
    case Numerics::kExllama:
      return EncodeExllama(x, bits, codes);
  }
  return {};
}

// Sets x to the values of the codes. `codes` may be CodesInPlace{x}.
template <typename Codes>
KVTUNE_HOST_DEVICE inline void DecodeRow(Codes codes, RowParameters row,
                                         const RowArithmetic& arithmetic, Row x) {
  const int bits = arithmetic.bits;
  switch (arithmetic.numerics) {
    case Numerics::kExact:
      return DecodeExact(codes, x);
    case Numerics::kKvtunerAsymmetric:
      return DecodeKvtunerAsymmetric(codes, row, bits, x);
    case Numerics::kKvtunerSymmetric:
      return DecodeSigned(codes, bits, row.scale, x);
    case Numerics::kVllmInt8:
    case Numerics::kGgmlQ8_0:
      return DecodeSigned(codes, 8, row.scale, x);
    case Numerics::kVllmInt4:
      return DecodeVllmInt4(codes, row, x);
    case Numerics::kVllmFp8:
      return DecodeE4m3(codes, row.scale, x);
    case Numerics::kTurboquantKey:
      return DecodeTurboquantKey(codes, row, arithmetic.levels, x);
    case Numerics::kFp8E4m3:
      return DecodeE4m3(codes, arithmetic.scale, x);
    case Numerics::kFp8E5m2:
      return DecodeE5m2(codes, arithmetic.scale, x);
    case Numerics::kNvfp4:
      return DecodeE2m1(codes, row.scale * arithmetic.scale, x);
    case Numerics::kMxfp4:
    case Numerics::kSglangFp4:
      return DecodeE2m1(codes, row.scale, x);
    case Numerics::kLmdeploy:
    case Numerics::kHqq:
      return DecodeAroundZero(codes, row.offset, row.scale, x);
    case Numerics::kGgmlQ6_0:
    case Numerics::kGgmlQ5_0:
    case Numerics::kGgmlQ4_0:
      return DecodeGgmlSymmetric(codes, row, bits, x);
    case Numerics::kTurboquantValue:
    case Numerics::kGgmlQ5_1:
    case Numerics::kGgmlQ4_1:
    case Numerics::kMlxAffine:
      return DecodeFromMinimum(codes, row.offset, row.scale, x);
    case Numerics::kGgmlIq4Nl:
      return DecodeGgmlIq4Nl(codes, row, x);
    case Numerics::kQuanto:
      return DecodeFromMinimum(codes, -row.offset, row.scale, x);
    case Numerics::kExllama:
      return DecodeExllama(codes, row, bits, x);
  }
}

// What is left of a row after it was stored and read again. In place.
KVTUNE_HOST_DEVICE inline void RoundTripRow(Row x, const RowArithmetic& arithmetic) {
  const CodesInPlace codes{x};
  const RowParameters parameters = EncodeRow(x, arithmetic, codes);
  DecodeRow(codes, parameters, arithmetic, x);
}

}  // namespace kvtune
