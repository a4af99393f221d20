#include "lib/runner/attention.h"

#include <algorithm>
#include <limits>

#include "lib/runner/fake_quantize.h"
#include "lib/runner/row_kernels_cpu.h"

namespace kvtune {
namespace {

// Grouped-query attention as one batched product: the query heads that share a KV head become rows
// of one matrix. a: [batch, query_heads, rows, k] times b: [batch, kv_heads, k, columns].
at::Tensor GroupedProduct(const at::Tensor& a, const at::Tensor& b) {
  const int64_t batch = a.size(0), query_heads = a.size(1), rows = a.size(2);
  const int64_t kv_heads = b.size(1);
  const at::Tensor left = a.reshape({batch * kv_heads, query_heads / kv_heads * rows, a.size(3)});
  const at::Tensor right = b.flatten(0, 1);
  return at::bmm(left, right).view({batch, query_heads, rows, b.size(3)});
}

// A view of the block-diagonal part of a block's weights: [batch, heads, window, window, groups] of
// the block's full groups. weights: [batch, heads, rows, end].
at::Tensor DiagonalGroups(const at::Tensor& weights, const QueryBlock& block, int64_t window) {
  const int64_t groups = (block.end - block.begin) / window;
  return weights.narrow(2, 0, groups * window)
      .narrow(3, block.begin, groups * window)
      .unflatten(3, {groups, window})
      .unflatten(2, {groups, window})   // [batch, heads, groups, window, groups, window]
      .diagonal(0, 2, 4);               // [batch, heads, window, window, groups]
}

// The block's own groups as [batch, heads, groups, window, channels]. x: [batch, heads, tokens, channels].
at::Tensor OwnGroups(const at::Tensor& x, const QueryBlock& block, int64_t window) {
  const int64_t groups = (block.end - block.begin) / window;
  return x.narrow(2, block.begin, groups * window).unflatten(2, {groups, window});
}

// Tokens at the end of a prompt's last block that fill no group.
int64_t UnfinishedTokens(const QueryBlock& block, int64_t window) { return (block.end - block.begin) % window; }

// Repeats KV heads for the query heads that share them. x: [batch, kv_heads, ...].
at::Tensor ForQueryHeads(const at::Tensor& x, int64_t query_heads) {
  const int64_t repeats = query_heads / x.size(1);
  return repeats == 1 ? x : x.repeat_interleave(repeats, 1);
}

// Replaces the scores of queries against their own group by those against the exact keys.
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
    scores.narrow(2, scores.size(2) - rest, rest).narrow(3, start, rest).copy_(own);
  }
}

}  // namespace

CacheSide MakeCacheSide(const at::Tensor& exact, const KvFormat& format, KvSide side) {
  return {FakeQuantize(exact, format, side), exact, format.residual_window_tokens};
}

CacheSide ExactCacheSide(const at::Tensor& exact) { return {exact, exact, 0}; }

int64_t MaxWeightElements(const at::Device& device) {
  constexpr int64_t kCpu = 1 << 18;
  constexpr int64_t kCuda = 1 << 28;
  return device.is_cpu() ? kCpu : kCuda;
}

std::vector<QueryBlock> QueryBlocks(int64_t first, int64_t tokens, int64_t alignment, int64_t elements_per_weight,
                                    int64_t max_elements) {
  std::vector<QueryBlock> blocks;
  int64_t rows = std::max<int64_t>(1, max_elements / (elements_per_weight * std::max<int64_t>(tokens, 1)));
  rows = std::max(alignment, rows / alignment * alignment);
  for (int64_t begin = first; begin < tokens; begin += rows) {
    blocks.push_back({begin, std::min(begin + rows, tokens)});
  }
  return blocks;
}

at::Tensor AttentionWeights(const at::Tensor& query, const CacheSide& keys, const QueryBlock& block) {
  const int64_t rows = block.end - block.begin;
  at::Tensor scores = GroupedProduct(query.narrow(2, block.begin, rows),
                                     keys.stored.narrow(2, 0, block.end).transpose(-1, -2));
  if (keys.window_tokens > 0) ReplaceOwnGroupScores(scores, query, keys, block);
  if (scores.device().is_cpu() && scores.scalar_type() == at::kFloat) {
    CausalSoftmaxRows(scores.mutable_data_ptr<float>(), scores.size(0) * scores.size(1), rows, block.end,
                      block.begin + 1);
    return scores;
  }
  const at::Tensor future =
      at::full({rows, rows}, -std::numeric_limits<float>::infinity(), scores.options()).triu_(1);
  scores.narrow(3, block.begin, rows).add_(future);
  return at::softmax(scores, -1);
}

at::Tensor AttentionOutput(const at::Tensor& weights, const CacheSide& values, const QueryBlock& block) {
  at::Tensor output = GroupedProduct(weights, values.stored.narrow(2, 0, block.end));
  const int64_t window = values.window_tokens;
  if (window == 0) return output;
  // Own groups: add what the exact values have over the stored ones.
  const at::Tensor correction = ForQueryHeads(
      values.exact.narrow(2, block.begin, block.end - block.begin) -
          values.stored.narrow(2, block.begin, block.end - block.begin), weights.size(1));
  const QueryBlock relative{0, block.end - block.begin};
  if (relative.end >= window) {
    const at::Tensor own_weights = DiagonalGroups(weights, block, window).permute({0, 1, 4, 2, 3});
    at::Tensor own_rows = OwnGroups(output, relative, window);
    own_rows.add_(at::matmul(own_weights, OwnGroups(correction, relative, window)));
  }
  // An unfinished group is stored exactly (FakeQuantize leaves it alone): nothing to correct.
  return output;
}

}  // namespace kvtune
