#include "lib/runner/attention.h"

#include <algorithm>
#include <limits>

#include "lib/kernels/row_kernels_cpu.h"
#include "lib/runner/cuda_kernels.h"
#include "lib/runner/flash_attention.h"
#include "lib/runner/row_ops.h"

namespace kvtune {
namespace {

// Computes the products of grouped-query attention as one batched product: the query heads that
// share a KV head become the rows of one matrix.
// a: [batch, query_heads, rows, k] times b: [batch, kv_heads, k, columns].
at::Tensor GroupedProduct(const at::Tensor& a, const at::Tensor& b) {
  const int64_t batch = a.size(0), query_heads = a.size(1), rows = a.size(2);
  const int64_t kv_heads = b.size(1);
  const at::Tensor left = a.reshape({batch * kv_heads, query_heads / kv_heads * rows, a.size(3)});
  const at::Tensor right = b.flatten(0, 1);
  return at::bmm(left, right).view({batch, query_heads, rows, b.size(3)});
}

// Returns a view of the block-diagonal part of a block's weights, for the full groups of the block:
// [batch, heads, window, window, groups].
// weights: [batch, heads, rows, end - first_key].
at::Tensor DiagonalGroups(const at::Tensor& weights, const QueryBlock& block, int64_t window) {
  const int64_t groups = (block.end - block.begin) / window;
  return weights.narrow(2, 0, groups * window)
      .narrow(3, block.begin - block.first_key, groups * window)
      .unflatten(3, {groups, window})
      .unflatten(2, {groups, window})  // [batch, heads, groups, window, groups, window]
      .diagonal(0, 2, 4);              // [batch, heads, window, window, groups]
}

// Returns the block's own groups as [batch, heads, groups, window, channels].
// x: [batch, heads, tokens, channels].
at::Tensor OwnGroups(const at::Tensor& x, const QueryBlock& block, int64_t window) {
  const int64_t groups = (block.end - block.begin) / window;
  return x.narrow(2, block.begin, groups * window).unflatten(2, {groups, window});
}

// Returns how many tokens at the end of a prompt's last block do not fill a group.
int64_t UnfinishedTokens(const QueryBlock& block, int64_t window) {
  return (block.end - block.begin) % window;
}

// Repeats KV heads for the query heads that share them. x: [batch, kv_heads, ...].
at::Tensor ForQueryHeads(const at::Tensor& x, int64_t query_heads) {
  const int64_t repeats = query_heads / x.size(1);
  return repeats == 1 ? x : x.repeat_interleave(repeats, 1);
}

// Replaces the scores of queries against their own group by the scores against the exact keys.
void ReplaceOwnGroupScores(at::Tensor& scores, const at::Tensor& query, const CacheSide& keys,
                           const QueryBlock& block) {
  const int64_t window = keys.window_tokens;
  const at::Tensor exact = ForQueryHeads(keys.exact, query.size(1));
  if (block.end - block.begin >= window) {
    const at::Tensor own = at::matmul(OwnGroups(query, block, window),
                                      OwnGroups(exact, block, window).transpose(-1, -2));
    DiagonalGroups(scores, block, window).copy_(own.permute({0, 1, 3, 4, 2}));
  }
  if (const int64_t rest = UnfinishedTokens(block, window); rest > 0) {
    const int64_t start = block.end - rest;
    const at::Tensor own =
        at::matmul(query.narrow(2, start, rest), exact.narrow(2, start, rest).transpose(-1, -2));
    scores.narrow(2, scores.size(2) - rest, rest)
        .narrow(3, start - block.first_key, rest)
        .copy_(own);
  }
}

// Sets a score to -inf where the query does not see the key, because the key is in the future or
// before the query's window.
void Hide(at::Tensor& scores, const QueryBlock& block, int64_t window_tokens) {
  const int64_t rows = block.end - block.begin;
  const at::Tensor hidden =
      at::full({rows, scores.size(3)}, -std::numeric_limits<float>::infinity(), scores.options());
  const int64_t own = block.begin - block.first_key;  // the first query's column
  scores.add_(hidden.triu(own + 1));
  if (window_tokens > 0) scores.add_(hidden.tril(own - window_tokens));
}

// Returns the softmax over the last dimension together with the sink's logit, without the weight of
// the sink. scores: [batch, heads, rows, keys]; sinks: [heads] or undefined
at::Tensor SoftmaxWithSinks(const at::Tensor& scores, const at::Tensor& sinks) {
  if (!sinks.defined()) return at::softmax(scores, -1);
  const at::Tensor column =
      sinks.view({1, -1, 1, 1}).expand({scores.size(0), -1, scores.size(2), 1});
  return at::softmax(at::cat({scores, column}, -1), -1).narrow(-1, 0, scores.size(3)).contiguous();
}

}  // namespace

CacheSide MakeCacheSide(const at::Tensor& exact, const KvFormat& format, const LayerSide& side) {
  return {FakeQuantize(exact, format, side), exact, format.residual_window_tokens};
}

CacheSide ExactCacheSide(const at::Tensor& exact) { return {exact, exact, 0}; }

int64_t MaxWeightElements(const at::Device& device) {
  constexpr int64_t kCpu = 1 << 18;
  constexpr int64_t kCuda = 1 << 28;
  return device.is_cpu() ? kCpu : kCuda;
}

std::vector<QueryBlock> QueryBlocks(int64_t first, int64_t tokens, int64_t alignment,
                                    int64_t window_tokens, int64_t elements_per_weight,
                                    int64_t max_elements) {
  std::vector<QueryBlock> blocks;
  // When a block has at most one window's worth of queries, they see no more than two windows of
  // keys.
  const bool windowed = window_tokens > 0 && window_tokens < tokens;
  const int64_t keys = windowed ? std::min(2 * window_tokens, tokens) : tokens;
  int64_t rows =
      std::max<int64_t>(1, max_elements / (elements_per_weight * std::max<int64_t>(keys, 1)));
  if (windowed) rows = std::min(rows, window_tokens);
  rows = std::max(alignment, rows / alignment * alignment);
  for (int64_t begin = first; begin < tokens; begin += rows) {
    const int64_t first_key = windowed ? std::max<int64_t>(0, begin - window_tokens + 1) : 0;
    blocks.push_back({begin, std::min(begin + rows, tokens), first_key});
  }
  return blocks;
}

at::Tensor AttentionWeights(const at::Tensor& query, const CacheSide& keys, const QueryBlock& block,
                            const ScoreRule& rule) {
  const int64_t rows = block.end - block.begin;
  at::Tensor scores = GroupedProduct(
      query.narrow(2, block.begin, rows),
      keys.stored.narrow(2, block.first_key, block.end - block.first_key).transpose(-1, -2));
  if (keys.window_tokens > 0) ReplaceOwnGroupScores(scores, query, keys, block);
  if (rule.soft_cap > 0) SoftCap(scores, rule.soft_cap);
  if (UsesCpuKernels(scores)) {
    CausalSoftmaxRows(
        scores.mutable_data_ptr<float>(),
        {.matrices = scores.size(0) * scores.size(1),
         .rows = rows,
         .columns = scores.size(3),
         .first_visible = block.begin - block.first_key + 1,
         .window = rule.window_tokens,
         .heads = scores.size(1),
         .sinks = rule.sinks.defined() ? rule.sinks.const_data_ptr<float>() : nullptr});
    return scores;
  }
  if (UsesCudaKernels(scores)) {
    CudaCausalSoftmax(scores, block.begin - block.first_key + 1, rule.window_tokens, rule.sinks);
    return scores;
  }
  Hide(scores, block, rule.window_tokens);
  return SoftmaxWithSinks(scores, rule.sinks);
}

at::Tensor AttentionOutput(const at::Tensor& weights, const CacheSide& values,
                           const QueryBlock& block) {
  at::Tensor output = GroupedProduct(
      weights, values.stored.narrow(2, block.first_key, block.end - block.first_key));
  const int64_t window = values.window_tokens;
  if (window == 0) return output;
  // For the queries' own groups, add the difference between the exact and the stored values.
  const at::Tensor correction =
      ForQueryHeads(values.exact.narrow(2, block.begin, block.end - block.begin) -
                        values.stored.narrow(2, block.begin, block.end - block.begin),
                    weights.size(1));
  const QueryBlock relative{0, block.end - block.begin, 0};
  if (relative.end >= window) {
    const at::Tensor own_weights = DiagonalGroups(weights, block, window).permute({0, 1, 4, 2, 3});
    at::Tensor own_rows = OwnGroups(output, relative, window);
    own_rows.add_(at::matmul(own_weights, OwnGroups(correction, relative, window)));
  }
  // An unfinished group needs no correction: FakeQuantize leaves it alone, so it is stored exactly.
  return output;
}

at::Tensor ExactAttention(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value,
                          const ScoreRule& rule) {
  const int64_t heads = query.size(1), tokens = query.size(2);
  const CacheSide keys = ExactCacheSide(key), values = ExactCacheSide(value);
  if (CanFlash(query, keys, values, rule)) return FlashAttention(query, keys, values, rule);
  at::Tensor attention = at::empty({query.size(0), tokens, heads, value.size(3)}, query.options());
  for (const QueryBlock& block :
       QueryBlocks(0, tokens, 1, rule.window_tokens, query.size(0) * heads,
                   MaxWeightElements(query.device()))) {
    attention.narrow(1, block.begin, block.end - block.begin)
        .copy_(AttentionOutput(AttentionWeights(query, keys, block, rule), values, block)
                   .transpose(1, 2));
  }
  return attention;
}

}  // namespace kvtune
