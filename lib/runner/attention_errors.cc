#include "lib/runner/attention_errors.h"

#include <algorithm>
#include <span>
#include <utility>

#include "lib/runner/cuda_kernels.h"
#include "lib/runner/flash_attention.h"

namespace kvtune {
namespace {

// Returns the sum of |x - x^| over all dimensions but the first: [heads]. x: [heads, rows, width]
at::Tensor SumOfDistances(const at::Tensor& x, const at::Tensor& approximation) {
  if (UsesCudaKernels(x))
    return CudaErrorSumsOf(x, std::span(&approximation, 1)).select(0, 0).select(1, 0);
  return at::abs(x - approximation).flatten(1).sum(1, false, at::kDouble);
}

// Groups the query heads by the KV head that they share:
// [batch=1, query_heads, rows, n] -> [kv_heads, ..., n].
at::Tensor ByKvHead(const at::Tensor& x, int64_t kv_heads) {
  return x.squeeze(0).unflatten(0, {kv_heads, x.size(1) / kv_heads}).flatten(1, 2);
}

// Returns sum |x| over the tokens, for each channel.
// x: [kv_heads, tokens, head_dim] -> [kv_heads * head_dim]
at::Tensor PerChannel(const at::Tensor& x) {
  return at::abs(x.to(at::kFloat)).sum(1, false, at::kDouble).flatten();
}

// Stacks tensors along a new first dimension, which may be of size 0.
at::Tensor Stacked(const std::vector<at::Tensor>& parts, at::IntArrayRef shape,
                   const at::TensorOptions& options) {
  if (!parts.empty()) return at::stack(parts);
  std::vector<int64_t> none = {0};
  none.insert(none.end(), shape.begin(), shape.end());
  return at::empty(none, options.dtype(at::kDouble));
}

// Neighbouring pairs that attend in one batch: with equal windows, and so few that their outputs
// are small beside the model.
std::vector<std::vector<size_t>> BatchesOf(const ComparedAttention& attention) {
  constexpr int64_t kRows = 1 << 15;
  const int64_t tokens = attention.query.size(2);
  const auto windows = [&](size_t pair) {
    const auto [key, value] = attention.pairs[pair];
    return std::pair(attention.keys[key].window_tokens, attention.values[value].window_tokens);
  };
  std::vector<std::vector<size_t>> batches;
  for (size_t i = 0; i < attention.pairs.size(); ++i) {
    if (batches.empty() || windows(batches.back().front()) != windows(i) ||
        (std::ssize(batches.back()) + 1) * tokens > kRows) {
      batches.emplace_back();
    }
    batches.back().push_back(i);
  }
  return batches;
}

// REQUIRES: the sides have the same window.
CacheSide StackedSides(const std::vector<const CacheSide*>& sides) {
  CacheSide all{.stored = {}, .exact = {}, .window_tokens = sides.front()->window_tokens};
  std::vector<at::Tensor> stored;
  for (const CacheSide* side : sides) stored.push_back(side->stored);
  all.stored = at::cat(stored);
  all.exact = sides.front()->exact.expand_as(all.stored);
  return all;
}

// The same with the heads of a token side by side in memory. cuDNN's results are laid out as its
// queries are, and in this way they are summed without a copy.
at::Tensor SideBySide(const at::Tensor& query) {
  return query.transpose(1, 2).contiguous().transpose(1, 2);
}

// The attention of all queries. cuDNN's kernels need 0.07 s for each shape when they are first
// used, and a batch of pairs and the exact attention are two shapes, so prompts have to be long for
// it.
AttentionResult Attended(const at::Tensor& query, const CacheSide& keys, const CacheSide& values,
                         const ScoreRule& rule) {
  constexpr int64_t kShortestForErrors = 4096;
  if (query.size(2) >= kShortestForErrors && CanUseCudnn(query, keys, values, rule))
    return CudnnAttention(SideBySide(query), keys, values);
  return FlashAttentionWithSums(query, keys, values, rule);
}

// The attention of all queries for each pair of a batch, in its order.
AttentionResult AttendTogether(const ComparedAttention& attention,
                               const std::vector<size_t>& batch) {
  std::vector<const CacheSide*> keys, values;
  for (const size_t i : batch) {
    keys.push_back(&attention.keys[attention.pairs[i].key]);
    values.push_back(&attention.values[attention.pairs[i].value]);
  }
  const at::Tensor queries = attention.query.expand({std::ssize(batch), -1, -1, -1});
  return Attended(queries, StackedSides(keys), StackedSides(values), attention.rule);
}

// log_sums: [tokens, query_heads]
CudaAttendedKeys AttendedKeys(const CacheSide& side, const at::Tensor& log_sums) {
  return {side.stored.squeeze(0), log_sums.t(), side.window_tokens};
}

}  // namespace

int64_t ComparedAttention::alignment() const {
  int64_t alignment = 1;
  for (const CacheSide& side : keys) alignment = std::max(alignment, side.window_tokens);
  for (const CacheSide& side : values) alignment = std::max(alignment, side.window_tokens);
  return alignment;
}

at::Tensor ErrorSumsOf(const at::Tensor& x, const at::Tensor& approximation) {
  if (UsesCudaKernels(x)) return CudaErrorSumsOf(x, std::span(&approximation, 1)).select(0, 0);
  const at::Tensor wide = x.to(at::kFloat).flatten(1);
  const at::Tensor magnitude = at::abs(wide);
  const at::Tensor error = at::abs(wide - approximation.to(at::kFloat).flatten(1));
  const at::Tensor counted = magnitude > 0;
  const at::Tensor ratio = at::where(counted, error / magnitude, at::zeros({}, error.options()));
  return at::stack({error.sum(1, false, at::kDouble), magnitude.sum(1, false, at::kDouble),
                    ratio.sum(1, false, at::kDouble), counted.sum(1).to(at::kDouble)},
                   1);
}

SideErrors CompareSides(const at::Tensor& exact, const std::vector<CacheSide>& sides) {
  const at::Tensor x = exact.squeeze(0);
  const int64_t count = std::ssize(sides);
  if (UsesCudaKernels(x)) {
    std::vector<at::Tensor> compared = {x};  // with itself, for the totals
    for (const CacheSide& side : sides) compared.push_back(side.stored.squeeze(0));
    const at::Tensor sums = CudaChannelErrorSumsOf(x, compared);  // [1 + sides, heads, channels, 4]
    const at::Tensor of_sides = sums.narrow(0, 1, count);
    return {of_sides.sum(2), of_sides.select(3, 0).flatten(1), sums[0].select(2, 1).flatten()};
  }
  SideErrors errors{at::empty({count, x.size(0), 4}, x.options().dtype(at::kDouble)),
                    at::empty({count, x.size(0) * x.size(2)}, x.options().dtype(at::kDouble)),
                    PerChannel(x)};
  for (int64_t i = 0; i < count; ++i) {
    const at::Tensor stored = sides[static_cast<size_t>(i)].stored.squeeze(0);
    errors.heads[i].copy_(ErrorSumsOf(x, stored));
    errors.channel_error[i].copy_(PerChannel(x.to(at::kFloat) - stored));
  }
  return errors;
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
  const at::Tensor& query = attention.query;
  const int64_t kv_heads = attention.exact_key.exact.size(1), tokens = query.size(2);
  // [tokens, query_heads, head_dim] -> [kv_heads, counted tokens, query heads and channels]
  const auto counted = [&](const at::Tensor& output) {
    return output.narrow(0, first_counted, tokens - first_counted)
        .unflatten(1, {kv_heads, output.size(1) / kv_heads})
        .flatten(2)
        .transpose(0, 1);
  };
  const AttentionResult exact =
      Attended(query, attention.exact_key, attention.exact_value, attention.rule);
  std::vector<at::Tensor> of_outputs;
  std::vector<CudaAttendedKeys> formats(attention.keys.size());
  for (const std::vector<size_t>& batch : BatchesOf(attention)) {
    const AttentionResult quantized = AttendTogether(attention, batch);
    std::vector<at::Tensor> outputs;
    for (size_t i = 0; i < batch.size(); ++i) {
      const auto place = static_cast<int64_t>(i);
      const size_t key = attention.pairs[batch[i]].key;
      outputs.push_back(counted(quantized.output[place]));
      // The weights do not depend on the values, so any pair with this key has their sums.
      formats[key] = AttendedKeys(attention.keys[key], quantized.log_sums[place]);
    }
    of_outputs.push_back(CudaErrorSumsOf(counted(exact.output[0]), outputs));
  }
  const CudaWeightErrors weights =
      CudaCompareWeights(query.squeeze(0), AttendedKeys(attention.exact_key, exact.log_sums[0]),
                         formats, first_counted, attention.rule.window_tokens);
  const at::Tensor none = at::empty({0, kv_heads, 4}, weights.errors.options());
  return {{weights.errors, of_outputs.empty() ? none : at::cat(of_outputs), weights.largest},
          exact.output};
}

}  // namespace kvtune
