// Attention weights over exact keys compared with those over quantized keys, without any of them in
// memory. This file is torch-free.
#pragma once

#include <array>
#include <cstdint>
#include <span>

#include "lib/kernels/cuda/cuda_place.h"

namespace kvtune {

// The keys of one layer as a cache returns them, and what turns the scores against them into
// weights. Memory of the device.
struct CudaKeys {
  const void* keys = nullptr;  // [kv_heads, tokens, head_dim]
  // [query_heads, tokens]: the log of the sum of exp(score) over what a query sees and the sink.
  const float* log_sums = nullptr;
  // The number of tokens in a group of the residual window. A query sees the exact keys of its own
  // group. 0 stands for no window.
  int64_t window_tokens = 0;
};

struct CudaAttentionShape {
  int64_t query_heads = 0;
  int64_t kv_heads = 0;  // divides query_heads
  int64_t tokens = 0;
  int64_t head_dim = 0;
  int64_t query_head_stride = 0;   // in elements, multiples of 8
  int64_t query_token_stride = 0;  // the same
  int64_t first_counted = 0;       // queries before it are left out
  int64_t sliding_window = 0;      // a query sees this many of the newest tokens; 0 stands for all
};

// Whether there is a kernel for this type and width: half precision, whole 16 bytes, at most 256
// channels.
bool CanCompareWeightsOnCuda(ElementType type, int64_t head_dim);

// How many parts a KV head's sums have.
int64_t WeightErrorParts(const CudaAttentionShape& shape);

// Compares the softmax weights of causal attention over `exact` with those over each of `formats`.
// query: [query_heads, tokens, head_dim] by the strides of the shape, scaled
// errors: [formats, kv_heads, WeightErrorParts], sums of |weight - weight^| over the queries of a
// part and the query heads that share the KV head. The caller adds the parts up, so that the order
// of the sums is always the same.
// largest: [query_heads, tokens], each query's largest exact weight; only those of counted queries
// are written
// All pointers are aligned to 16 bytes. Throws Error when a launch fails. REQUIRES:
// CanCompareWeightsOnCuda.
void CompareWeightsOnCuda(const CudaPlace& place, const CudaAttentionShape& shape,
                          const void* query, const CudaKeys& exact,
                          std::span<const CudaKeys> formats, double* errors, float* largest);

}  // namespace kvtune
