// Attention of teacher-forced queries over a quantized cache, equal to token-by-token decoding.
//
// A query at position t reads every older key and value as the cache holds them at time t:
// quantized once their group is flushed, exact while they wait in the residual window. Groups are
// aligned at position 0, and t's own group is flushed only after t has attended (KIVI, arXiv
// 2402.02750). So: attention over the stored keys and values, with the block-diagonal part (t's own
// group) replaced by the exact ones. Formats without a window have no such part.
#pragma once

#include "lib/core/kv_format.h"
#include "lib/runner/fake_quantize.h"
#include "lib/runner/torch.h"

namespace kvtune {

// How a layer's scores become weights.
struct ScoreRule {
  int64_t window_tokens =
      0;                // a query sees this many of the newest tokens, its own included; 0: all
  double soft_cap = 0;  // scores become cap tanh(score / cap); 0: they stay
  at::Tensor sinks;     // [query_heads] or undefined: a logit more, whose weight is left out
};

// One side of one layer's cache for `batch` variants of one prompt.
struct CacheSide {
  at::Tensor stored;          // [batch, kv_heads, tokens, head_dim], as read back from the cache
  at::Tensor exact;           // same shape
  int64_t window_tokens = 0;  // size of a residual window's group; 0: none, `exact` is not read
};

CacheSide MakeCacheSide(const at::Tensor& exact, const KvFormat& format, const LayerSide& side);
// The cache of a model that is not quantized.
CacheSide ExactCacheSide(const at::Tensor& exact);

// Queries [begin, end) of a prompt, attending to the keys [first_key, end).
struct QueryBlock {
  int64_t begin = 0;
  int64_t end = 0;
  int64_t first_key = 0;
};

// Attention weights to have alive at a time: small enough for a CPU's second-level cache, large
// enough to fill a GPU.
int64_t MaxWeightElements(const at::Device& device);

// Cuts the queries [first, tokens) into blocks whose attention weights have at most `max_elements`
// (at least one window, or one query). Blocks begin at multiples of `alignment` (1 or the window),
// so that no group straddles two of them. REQUIRES: so does `first`. `window_tokens` is the
// layer's.
std::vector<QueryBlock> QueryBlocks(int64_t first, int64_t tokens, int64_t alignment,
                                    int64_t window_tokens, int64_t elements_per_weight,
                                    int64_t max_elements);

// Softmax weights of a block. query: [batch, query_heads, tokens, head_dim], already scaled.
// -> [batch, query_heads, end - begin, end - first_key]; 0 for what a query does not see.
at::Tensor AttentionWeights(const at::Tensor& query, const CacheSide& keys, const QueryBlock& block,
                            const ScoreRule& rule);

// weights times values. -> [batch, query_heads, end - begin, head_dim]
at::Tensor AttentionOutput(const at::Tensor& weights, const CacheSide& values,
                           const QueryBlock& block);

// Attention of a prompt over the cache of a model that is not quantized.
// query: [batch, query_heads, tokens, key_head_dim], already scaled -> [batch, tokens, query_heads,
// value_head_dim]
at::Tensor ExactAttention(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value,
                          const ScoreRule& rule);

}  // namespace kvtune
