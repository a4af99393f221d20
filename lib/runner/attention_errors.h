// How far attention over quantized caches is from attention over the exact one, on any device.
#pragma once

#include <vector>

#include "lib/runner/attention.h"
#include "lib/runner/torch.h"

namespace kvtune {

// One layer's attention on one prompt, and the caches of several precision pairs.
struct ComparedAttention {
  struct Pair {
    size_t key = 0, value = 0;  // places in `keys` and `values`
  };

  at::Tensor query;  // [1, query_heads, tokens, key_head_dim], already scaled
  ScoreRule rule;
  CacheSide exact_key, exact_value;
  std::vector<CacheSide> keys, values;  // of each format once
  std::vector<Pair> pairs;

  // What the blocks of queries have to be aligned to, so that no residual window straddles two.
  int64_t alignment() const;
};

// Sums in float64 on the device of what they are about.
struct AttentionErrors {
  at::Tensor weights;  // [keys, kv_heads]: |weight - weight^|
  // [pairs, kv_heads, 4]: |x - x^|, |x|, |x - x^| / |x|, and how many x are not 0
  at::Tensor outputs;
  at::Tensor largest;  // [query_heads]: the largest exact weight of each query
};

// The four sums of AttentionErrors::outputs over all dimensions but the first: [heads, 4].
// x, approximation: [heads, rows, width]
at::Tensor ErrorSumsOf(const at::Tensor& x, const at::Tensor& approximation);

// How far several stored sides are from the exact one. Sums in float64 on the device.
struct SideErrors {
  at::Tensor heads;          // [sides, kv_heads, 4], see ErrorSumsOf
  at::Tensor channel_error;  // [sides, kv_heads * head_dim]: sum |x - x^|
  at::Tensor channel_total;  // [kv_heads * head_dim]: sum |x|
};
// exact: [1, kv_heads, tokens, head_dim]
SideErrors CompareSides(const at::Tensor& exact, const std::vector<CacheSide>& sides);

// The queries of a block, of which the first `skipped` are not counted. Attention weights are in
// memory, once for the exact keys and once for one format at a time.
AttentionErrors ErrorsOfBlock(const ComparedAttention& attention, const QueryBlock& block,
                              int64_t skipped);

// Whether ErrorsByFlash can take all pairs: where flash attention and a CUDA kernel of ours can.
bool CanCompareByFlash(const ComparedAttention& attention);

struct ErrorsWithOutput {
  AttentionErrors errors;
  at::Tensor exact_output;  // [1, tokens, query_heads, value_head_dim]
};
// All queries of the prompt, of which the first ones are not counted. No weights are in memory.
// REQUIRES: CanCompareByFlash.
ErrorsWithOutput ErrorsByFlash(const ComparedAttention& attention, int64_t first_counted);

}  // namespace kvtune
