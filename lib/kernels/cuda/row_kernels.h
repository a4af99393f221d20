// What a decoder does to each row between its matrix products, fused on CUDA. This file is
// torch-free.
//
// Each function reads every element once and writes it once, where the operators that it replaces
// do so several times. It rounds where they round, so the results are those of the operators up to
// the order of sums. All pointers are to contiguous memory of the device. Throws Error when a
// launch fails.
#pragma once

#include <cstdint>
#include <limits>

#include "lib/core/model_config.h"
#include "lib/kernels/cuda/cuda_place.h"
#include "lib/kernels/row_kernels_cpu.h"

namespace kvtune {

// A weight of a root-mean-square norm. A weight in float32 is applied before the result is rounded
// to the type of the rows; a weight in the rows' own type is applied after rounding.
struct CudaNorm {
  const void* weight = nullptr;  // [width]
  bool in_float32 = false;       // otherwise it has the type of the rows
  float eps = 0;
};

// rows, out: [row_count, width]
void RmsNormOnCuda(const CudaPlace& place, const void* rows, const CudaNorm& norm,
                   int64_t row_count, int64_t width, void* out);

// Sets the rows to before + scale * delta, then norms them into `out`. All are [row_count, width];
// `before` may be the rows themselves.
void AddAndNormOnCuda(const CudaPlace& place, const void* before, const void* delta, float scale,
                      const CudaNorm& norm, int64_t row_count, int64_t width, void* rows,
                      void* out);

// activation(gate) * up. gate_up: [row_count, 2 width], the gate first -> out: [row_count, width].
// REQUIRES: the activation is kSilu or kGeluTanh.
void GatedOnCuda(const CudaPlace& place, const void* gate_up, int64_t row_count, int64_t width,
                 Activation activation, void* out);

// Sums, for every row, what the experts that it chose made of it, times their weights. The sum is
// taken in float32 and rounded once. results: [row_count * choices, width]; places: [row_count,
// choices], the rows of the results; weights: [row_count, choices] -> out: [row_count, width].
void SumChoicesOnCuda(const CudaPlace& place, const void* results, const int64_t* places,
                      const void* weights, int64_t row_count, int64_t choices, int64_t width,
                      void* out);

// Gathers the heads of a layout, [sequences, tokens, row_width], into `out`: [sequences, heads,
// tokens, head_dim], or [sequences, tokens, heads, head_dim] by token. It rotates their first
// rotary_dim channels by cos and sin ([tokens, rotary_dim / 2], of the rows' type) and multiplies
// by `scale`. rotary_dim may be 0. Heads from rotated_heads on are not rotated, and those from
// scaled_heads on are not multiplied. REQUIRES: there are fewer than 2^32 tokens.
struct CudaGather {
  int64_t rotary_dim = 0;
  const void* cos = nullptr;
  const void* sin = nullptr;
  float scale = 1;
  bool by_token = false;
  int64_t rotated_heads = std::numeric_limits<int64_t>::max();
  int64_t scaled_heads = std::numeric_limits<int64_t>::max();
};
void GatherHeadsOnCuda(const CudaPlace& place, const void* projected, const HeadLayout& layout,
                       const CudaGather& gather, void* out);

// Applies the softmax over what each row sees, in place, and writes 0 to the rest. scores:
// [layout.matrices * layout.rows, layout.columns]; sinks: [layout.heads] of the scores' type, or
// null. layout.sinks is not read.
void CausalSoftmaxOnCuda(const CudaPlace& place, void* scores, const ScoreLayout& layout,
                         const void* sinks);

// Heads of which each has rows of neighbouring elements.
struct CudaHeadRows {
  int64_t heads = 0, rows = 0, width = 0;
  int64_t head_stride = 0, row_stride = 0;  // in elements
};

// How far an approximation is from x: sums of |x - x^|, |x|, |x - x^| / |x|, and how many x are not
// 0. A ratio counts where x is not 0. Sums come in parts, which the caller adds up, so that the
// order of the sums is always the same.
struct CudaErrorSums {
  static constexpr int kCount = 4;
  static constexpr int64_t kChunk = 1 << 14;  // the number of elements of a part
  static int64_t PartsOf(int64_t elements) { return (elements + kChunk - 1) / kChunk; }
  static constexpr int64_t kChunkTokens = 32;  // the same for the sums of a channel
  static int64_t ChannelPartsOf(int64_t tokens) {
    return (tokens + kChunkTokens - 1) / kChunkTokens;
  }
};

// x and the approximation have the same layout -> parts: [heads, PartsOf(rows * width), kCount]
void SumErrorsOnCuda(const CudaPlace& place, const void* x, const void* approximation,
                     const CudaHeadRows& layout, double* parts);

// The same by channel. x, approximation: [heads, tokens, head_dim] -> parts: [heads,
// ChannelPartsOf(tokens), head_dim, kCount]. REQUIRES: head_dim is at most 1024.
void SumChannelErrorsOnCuda(const CudaPlace& place, const void* x, const void* approximation,
                            int64_t heads, int64_t tokens, int64_t head_dim, double* parts);

// Moves each of `count` elements up or down by one part in 1 / step. The direction depends on the
// seed and the element's index only.
void AddRoundingNoiseOnCuda(const CudaPlace& place, void* elements, int64_t count, double step,
                            uint64_t seed);

}  // namespace kvtune
