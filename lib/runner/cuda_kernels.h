// Our CUDA kernels on tensors. Where they are not built, UsesCudaKernels is false for every tensor
// and nothing else here may be called; libtorch's operators do the work then.
#pragma once

#include <span>

#include "lib/core/kv_format.h"
#include "lib/core/model_config.h"
#include "lib/io/weight_format.h"
#include "lib/kernels/cuda/cuda_place.h"
#include "lib/kernels/fake_quantize_cpu.h"
#include "lib/kernels/row_kernels_cpu.h"
#include "lib/runner/attention.h"
#include "lib/runner/rotary.h"
#include "lib/runner/torch.h"

namespace kvtune {

// Whether x lies on a CUDA device and has a type that the kernels know: float32, bfloat16, float16.
bool UsesCudaKernels(const at::Tensor& x);

// REQUIRES: UsesCudaKernels(x). The place has libtorch's current stream of x's device.
CudaPlace PlaceOf(const at::Tensor& x);

// Whether x is on a GPU of the generation Hopper.
bool IsOnHopper(const at::Tensor& x);

// See RmsNorm in row_ops.h.
at::Tensor CudaRmsNorm(const at::Tensor& x, const at::Tensor& weight, double eps);

// See AddAndRmsNorm in row_ops.h. before, delta, rows: contiguous
at::Tensor CudaAddAndNorm(const at::Tensor& before, const at::Tensor& delta, double scale,
                          const at::Tensor& weight, double eps, at::Tensor& rows);

// See Gated in row_ops.h. REQUIRES: the activation is kSilu or kGeluTanh.
at::Tensor CudaGated(const at::Tensor& gate_up, Activation activation);

// Whether CudaGatedLinear can take these and is faster than a product and CudaGated.
bool HasCudaGatedLinear(const at::Tensor& rows, const at::Tensor& gate_up, Activation activation);
// See GatedLinear in row_ops.h.
at::Tensor CudaGatedLinear(const at::Tensor& rows, const at::Tensor& gate_up,
                           Activation activation);

// Sums what experts made of each row, times their weights; see SumChoicesOnCuda in row_kernels.h.
// results: [rows * choices, width]; places: [rows, choices] of int64; weights: [rows, choices]; all
// contiguous -> [rows, width]
at::Tensor CudaSumOfChoices(const at::Tensor& results, const at::Tensor& places,
                            const at::Tensor& weights);

// Gathers heads into [sequences, heads, tokens, head_dim], rotated unless the angles are undefined.
// By token, all heads of a token lie side by side in memory.
// projected: [sequences, tokens, row_width], contiguous
at::Tensor CudaGatherHeads(const at::Tensor& projected, const HeadLayout& layout,
                           const RotaryTables& angles, double scale, bool by_token = false);

// Each [1, heads, tokens, head_dim] and contiguous.
struct CudaQueryKeyValue {
  at::Tensor query, key, value;
};
// Gathers the heads of one sequence by one launch. Queries and keys are rotated unless the angles
// are undefined, and queries are multiplied by `scale`.
// projected: [1, tokens, (query_heads + 2 * kv_heads) * head_dim], contiguous
CudaQueryKeyValue CudaGatherQueryKeyValue(const at::Tensor& projected, int64_t query_heads,
                                          int64_t kv_heads, const RotaryTables& angles,
                                          double scale);

// Applies the softmax over what each query sees, in place; see AttentionWeights in attention.h.
// scores: [batch, heads, rows, columns], contiguous; sinks: [heads] of the same type, or undefined
void CudaCausalSoftmax(at::Tensor& scores, int64_t first_visible, int64_t window,
                       const at::Tensor& sinks);

// Sums over each head for each of several approximations, [approximations, heads, 4] of float64 on
// the device: |x - x^|, |x|, |x - x^| / |x|, and how many elements of x are not 0. x and they:
// [heads, rows, width] of one type
at::Tensor CudaErrorSumsOf(const at::Tensor& x, std::span<const at::Tensor> approximations);

// The same sums over the tokens: [approximations, heads, head_dim, 4]. x and they: [heads, tokens,
// head_dim]
at::Tensor CudaChannelErrorSumsOf(const at::Tensor& x, std::span<const at::Tensor> approximations);

// The keys of a layer that attention has read, and what it has left; see CudaKeys in
// lib/kernels/cuda/weight_errors.h.
struct CudaAttendedKeys {
  at::Tensor keys;      // [kv_heads, tokens, head_dim]
  at::Tensor log_sums;  // [query_heads, tokens], float32
  int64_t window_tokens = 0;
};
// float64 on the device, sums over the counted queries.
struct CudaWeightErrors {
  at::Tensor errors;   // [formats, kv_heads]: |weight - weight^|
  at::Tensor largest;  // [query_heads]: the largest weight over the exact keys
};
// Whether CudaCompareWeights can take such queries.
bool HasCudaWeightErrors(const at::Tensor& query);
// Compares the weights of causal attention over the exact keys with those over each of `formats`.
// query: [query_heads, tokens, head_dim], scaled, with neighbouring channels side by side. The
// first queries are not counted.
CudaWeightErrors CudaCompareWeights(const at::Tensor& query, const CudaAttendedKeys& exact,
                                    std::span<const CudaAttendedKeys> formats,
                                    int64_t first_counted, int64_t sliding_window);

// [rows]; see CudaLogitSummaries in lib/kernels/cuda/token_loss.h.
struct CudaSummary {
  at::Tensor shift, top;
};
// logits: [rows, vocab], contiguous
CudaSummary CudaSummarize(const at::Tensor& logits);

// [plans, rows], on the device; see TokenLosses in token_loss.h.
struct CudaLosses {
  at::Tensor kl, nll, same_top1, variation;
};
// reference: [rows, vocab]; logits: [plans, rows, vocab]; next_tokens: [rows]; all are contiguous.
CudaLosses CudaTokenLosses(const at::Tensor& reference, const CudaSummary& summary,
                           const at::Tensor& logits, const at::Tensor& next_tokens);

// Whether CudaDequantizedWords can make a tensor of this type and device.
bool HasCudaDequantizedWords(const at::TensorOptions& options);

// What StoredWords holds (lib/io/quantized_matrix.h), on the device.
struct CudaStoredWords {
  WeightCoding coding = WeightCoding::kAwq;
  int bits = 4;
  int64_t rows = 0, columns = 0;
  at::Tensor words, group_of;  // int32
  at::Tensor scales, zeros;    // float32
};
// [rows, columns]; the same numbers as QuantizedMatrix::Dequantize computes, rounded to the type.
at::Tensor CudaDequantizedWords(const CudaStoredWords& stored, const at::TensorOptions& options);

// Quantizes and reads back with any format, in float32, and rounds the result to the type of x
// once. x, out: [..., kv_heads, tokens, head_dim], contiguous
void CudaRoundTrip(const at::Tensor& x, const HeadArithmetic& arithmetic, QuantAxis axis,
                   std::span<const float> static_scales, const at::Tensor& out);

// The same for KVTuner's integers, in the type of x.
void CudaRoundTripKvtuner(const at::Tensor& x, int64_t group, int bits, QuantAxis axis,
                          const at::Tensor& out);

// Whether CudaDecodeAttention can attend to a cache of this type with heads of so many channels.
bool HasCudaDecodeAttention(const at::TensorOptions& options, int64_t key_head_dim,
                            int64_t value_head_dim);

struct CudaCacheSides {
  at::Tensor keys, values;  // [rows, kv_heads, max_tokens, head_dim]
};
struct CudaCacheRows {
  at::Tensor positions;  // [rows] of int64
  at::Tensor groups;     // of int64; see lib/kernels/cuda/decode_attention.h
};
// Attends with the newest token of every row, which the cache holds already. query: [query_heads,
// rows or more, head_dim], scaled; out: [rows or more, query_heads * head_dim], of which the rows
// of groups are written
void CudaDecodeAttention(const at::Tensor& query, const CudaCacheSides& cache,
                         const CudaCacheRows& rows, const ScoreRule& rule, at::Tensor& out);

// Moves every element one rounding step up or down, in directions that the seed decides.
void CudaAddRoundingNoise(at::Tensor& x, double step, uint64_t seed);

}  // namespace kvtune
