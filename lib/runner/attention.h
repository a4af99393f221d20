// Attention of teacher-forced queries over a quantized cache, equal to token-by-token decoding.
//
// A query at position t reads every older key and value as the cache holds them at time t:
// quantized once their group is flushed, exact while they wait in the residual window. Groups are
// aligned at position 0, and the group that t belongs to is flushed only after t has attended
// (KIVI, arXiv 2402.02750). Therefore attention runs over the stored keys and values, and its
// block-diagonal part (each query against its own group) is replaced by attention over the exact
// ones. Formats without a residual window have no such part.
#pragma once

#include "lib/core/kv_format.h"
#include "lib/runner/fake_quantize.h"
#include "lib/runner/torch.h"

namespace kvtune {

// Says how the attention scores of a layer become weights.
struct ScoreRule {
  // A query sees this many of the newest tokens, its own included. 0 stands for all.
  int64_t window_tokens = 0;
  double soft_cap = 0;  // scores become cap tanh(score / cap); 0 leaves them as they are
  // [query_heads] or undefined: one more logit for each head, which takes part in the softmax but
  // whose weight is left out of the result.
  at::Tensor sinks;
};

// One side (keys or values) of one layer's cache for `batch` variants of one prompt.
struct CacheSide {
  at::Tensor stored;  // [batch, kv_heads, tokens, head_dim], as read back from the cache
  at::Tensor exact;   // the same shape
  // The number of tokens in a group of the residual window. 0 stands for no window; `exact` is not
  // read then.
  int64_t window_tokens = 0;
};

CacheSide MakeCacheSide(const at::Tensor& exact, const KvFormat& format, const LayerSide& side);
// Returns the side of a model whose cache is not quantized.
CacheSide ExactCacheSide(const at::Tensor& exact);

// The queries [begin, end) of a prompt, which attend to the keys [first_key, end).
struct QueryBlock {
  int64_t begin = 0;
  int64_t end = 0;
  int64_t first_key = 0;
};

// Returns how many attention weights should exist at a time: few enough for a CPU's second-level
// cache, enough to fill a GPU.
int64_t MaxWeightElements(const at::Device& device);

// Cuts the queries [first, tokens) into blocks. The attention weights of a block have at most
// `max_elements` elements, except that a block has at least one window or one query. Blocks begin
// at multiples of `alignment` (1 or the size of the residual window), so that no group straddles
// two blocks. `window_tokens` is the sliding window of the layer. REQUIRES: `first` is a multiple
// of `alignment`.
std::vector<QueryBlock> QueryBlocks(int64_t first, int64_t tokens, int64_t alignment,
                                    int64_t window_tokens, int64_t elements_per_weight,
                                    int64_t max_elements);

// Returns the softmax weights of a block; they are 0 for what a query does not see. query: [batch,
// query_heads, tokens, head_dim], already scaled.
// -> [batch, query_heads, end - begin, end - first_key]
at::Tensor AttentionWeights(const at::Tensor& query, const CacheSide& keys, const QueryBlock& block,
                            const ScoreRule& rule);

// Multiplies weights by values. -> [batch, query_heads, end - begin, head_dim]
at::Tensor AttentionOutput(const at::Tensor& weights, const CacheSide& values,
                           const QueryBlock& block);

// Runs the attention of a prompt in a model whose cache is not quantized.
// query: [batch, query_heads, tokens, key_head_dim], already scaled
// -> [batch, tokens, query_heads, value_head_dim]
at::Tensor ExactAttention(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value,
                          const ScoreRule& rule);

}  // namespace kvtune
