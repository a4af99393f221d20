#include "lib/runner/attention_errors.h"

#include <algorithm>
#include <optional>

#include "lib/runner/cuda_kernels.h"
#include "lib/runner/flash_attention.h"

namespace kvtune {
namespace {

// Returns the sum of |x - x^| over all dimensions but the first: [heads]. x: [heads, rows, width]
at::Tensor SumOfDistances(const at::Tensor& x, const at::Tensor& approximation) {
  if (UsesCudaKernels(x)) return CudaErrorSumsOf(x, approximation).select(1, 0);
  return at::abs(x - approximation).flatten(1).sum(1, false, at::kDouble);
}

// Groups the query heads by the KV head that they share:
// [batch=1, query_heads, rows, n] -> [kv_heads, ..., n].
at::Tensor ByKvHead(const at::Tensor& x, int64_t kv_heads) {
  return x.squeeze(0).unflatten(0, {kv_heads, x.size(1) / kv_heads}).flatten(1, 2);
}

// Stacks tensors along a new first dimension, which may be of size 0.
at::Tensor Stacked(const std::vector<at::Tensor>& parts, at::IntArrayRef shape,
                   const at::TensorOptions& options) {
  if (!parts.empty()) return at::stack(parts);
  std::vector<int64_t> none = {0};
  none.insert(none.end(), shape.begin(), shape.end());
  return at::empty(none, options.dtype(at::kDouble));
}

}  // namespace

int64_t ComparedAttention::alignment() const {
  int64_t alignment = 1;
  for (const CacheSide& side : keys) alignment = std::max(alignment, side.window_tokens);
  for (const CacheSide& side : values) alignment = std::max(alignment, side.window_tokens);
  return alignment;
}

at::Tensor ErrorSumsOf(const at::Tensor& x, const at::Tensor& approximation) {
  if (UsesCudaKernels(x)) return CudaErrorSumsOf(x, approximation);
  const at::Tensor wide = x.to(at::kFloat).flatten(1);
  const at::Tensor magnitude = at::abs(wide);
  const at::Tensor error = at::abs(wide - approximation.to(at::kFloat).flatten(1));
  const at::Tensor counted = magnitude > 0;
  const at::Tensor ratio = at::where(counted, error / magnitude, at::zeros({}, error.options()));
  return at::stack({error.sum(1, false, at::kDouble), magnitude.sum(1, false, at::kDouble),
                    ratio.sum(1, false, at::kDouble), counted.sum(1).to(at::kDouble)},
                   1);
}

AttentionErrors ErrorsOfBlock(const ComparedAttention& attention, const QueryBlock& block,
                              int64_t skipped) {
  const int64_t kv_heads = attention.exact_key.exact.size(1);
  const int64_t rows = block.end - block.begin - skipped;
  const auto counted = [&](const at::Tensor& x) { return x.narrow(2, skipped, rows); };
  const at::Tensor weights =
      AttentionWeights(attention.query, attention.exact_key, block, attention.rule);
  const at::Tensor output =
      ByKvHead(counted(AttentionOutput(weights, attention.exact_value, block)), kv_heads);
  std::vector<at::Tensor> of_weights, of_outputs(attention.pairs.size());
  for (size_t key = 0; key < attention.keys.size(); ++key) {
    const at::Tensor quantized =
        AttentionWeights(attention.query, attention.keys[key], block, attention.rule);
    of_weights.push_back(SumOfDistances(ByKvHead(counted(weights), kv_heads),
                                        ByKvHead(counted(quantized), kv_heads)));
    for (size_t i = 0; i < attention.pairs.size(); ++i) {
      if (attention.pairs[i].key != key) continue;
      const CacheSide& values = attention.values[attention.pairs[i].value];
      of_outputs[i] = ErrorSumsOf(
          output, ByKvHead(counted(AttentionOutput(quantized, values, block)), kv_heads));
    }
  }
  return {Stacked(of_weights, {kv_heads}, weights.options()),
          Stacked(of_outputs, {kv_heads, 4}, weights.options()),
          counted(weights).amax(-1).sum(-1, false, at::kDouble).squeeze(0)};
}

bool CanCompareByFlash(const ComparedAttention& attention) {
  return HasCudaWeightErrors(attention.query) &&
         CanFlash(attention.query, attention.exact_key, attention.exact_value, attention.rule) &&
         std::ranges::all_of(attention.pairs, [&](const ComparedAttention::Pair& pair) {
           return CanFlash(attention.query, attention.keys[pair.key], attention.values[pair.value],
                           attention.rule);
         });
}

ErrorsWithOutput ErrorsByFlash(const ComparedAttention& attention, int64_t first_counted) {
  const int64_t kv_heads = attention.exact_key.exact.size(1), tokens = attention.query.size(2);
  const auto attend = [&](const CacheSide& keys, const CacheSide& values) {
    return FlashAttentionWithSums(attention.query, keys, values, attention.rule);
  };
  // [1, tokens, query_heads, head_dim] -> [kv_heads, counted tokens, query heads and channels]
  const auto counted = [&](const at::Tensor& output) {
    return output.squeeze(0)
        .narrow(0, first_counted, tokens - first_counted)
        .unflatten(1, {kv_heads, output.size(2) / kv_heads})
        .flatten(2)
        .transpose(0, 1);
  };
  const auto attended_keys = [](const CacheSide& side, const AttentionResult& result) {
    return CudaAttendedKeys{side.stored.squeeze(0), result.log_sums.squeeze(0).t(),
                            side.window_tokens};
  };
  const AttentionResult exact = attend(attention.exact_key, attention.exact_value);
  std::vector<at::Tensor> of_outputs(attention.pairs.size());
  std::vector<CudaAttendedKeys> formats(attention.keys.size());
  for (size_t i = 0; i < attention.pairs.size(); ++i) {
    const auto [key, value] = attention.pairs[i];
    const AttentionResult quantized = attend(attention.keys[key], attention.values[value]);
    of_outputs[i] = CudaErrorSumsOf(counted(exact.output), counted(quantized.output));
    // The weights do not depend on the values, so any pair with this key has their sums.
    formats[key] = attended_keys(attention.keys[key], quantized);
  }
  const CudaWeightErrors weights =
      CudaCompareWeights(attention.query.squeeze(0), attended_keys(attention.exact_key, exact),
                         formats, first_counted, attention.rule.window_tokens);
  return {{weights.errors, Stacked(of_outputs, {kv_heads, 4}, attention.query.options()),
           weights.largest},
          exact.output};
}

}  // namespace kvtune
