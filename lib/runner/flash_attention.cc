#include "lib/runner/flash_attention.h"

#include <algorithm>
#include <bit>
#include <exception>
#include <vector>

#include "lib/runner/cuda_kernels.h"

namespace kvtune {
namespace {

constexpr int64_t kShortestForCudnn = 1024;

// Computes one batch of equally long sequences. All are [batch, tokens, heads, head_dim].
AttentionResult FlashForward(const at::Tensor& query, const at::Tensor& key,
                             const at::Tensor& value, bool causal, int64_t window_tokens) {
  // -1 stands for no window.
  const int64_t older = window_tokens > 0 ? window_tokens - 1 : -1;
  const int64_t newer = window_tokens > 0 ? 0 : -1;
  const auto result = at::_flash_attention_forward(
      query, key, value, std::nullopt, std::nullopt, query.size(1), key.size(1), /*dropout_p=*/0,
      causal, /*return_debug_mask=*/false, /*scale=*/1.0, older, newer);
  return {std::get<0>(result), std::get<1>(result).transpose(1, 2)};
}

// Extends a prompt with zeros to a whole number of groups and separates these.
// x: [batch, heads, tokens, channels] -> [batch, groups, window, heads, channels]
at::Tensor ByGroups(const at::Tensor& x, int64_t groups, int64_t window) {
  const int64_t missing = groups * window - x.size(2);
  at::Tensor whole = x.transpose(1, 2);
  if (missing > 0) {
    whole = at::cat({whole, at::zeros({x.size(0), missing, x.size(1), x.size(3)}, x.options())}, 1);
  }
  return whole.reshape({x.size(0), groups, window, x.size(1), x.size(3)});
}

// Every query attends to the stored tokens before its own group. The queries of a group see the
// same keys, and so do the query heads that share a KV head; together they are the rows of one
// sequence without a causal mask. All sequences of a prompt read the same keys, from the first one
// on, so only their number of keys differs. The first group has no past and is left out. query:
// [batch, groups, window, query_heads, head_dim]; stored keys and values: [batch, kv_heads, tokens,
// head_dim] -> the same layout as query, with groups - 1 groups
AttentionResult AttendToPast(const at::Tensor& query, const at::Tensor& key,
                             const at::Tensor& value) {
  const int64_t batch = query.size(0), groups = query.size(1) - 1, window = query.size(2);
  const int64_t heads = query.size(3), head_dim = query.size(4);
  const int64_t kv_heads = key.size(1), shared = heads / kv_heads, tokens = key.size(2);
  const int64_t rows = window * shared;  // of a sequence
  const at::Tensor sequences = query.narrow(1, 1, groups)
                                   .unflatten(3, {kv_heads, shared})
                                   .permute({0, 1, 2, 4, 3, 5})  // the KV head last
                                   .reshape({batch * groups * rows, kv_heads, head_dim});
  std::vector<int32_t> first_query, first_key, key_count;
  for (int64_t i = 0; i < batch * groups; ++i) {
    first_query.push_back(static_cast<int32_t>(i * rows));
    first_key.push_back(static_cast<int32_t>(i / groups * tokens));
    key_count.push_back(static_cast<int32_t>((i % groups + 1) * window));
  }
  first_query.push_back(static_cast<int32_t>(batch * groups * rows));
  first_key.push_back(static_cast<int32_t>(batch * tokens));
  const auto on_device = [&](std::vector<int32_t>& numbers) {
    return at::from_blob(numbers.data(), {static_cast<int64_t>(numbers.size())}, at::kInt)
        .to(query.device());
  };
  const auto packed = [&](const at::Tensor& x) {
    return x.transpose(1, 2).reshape({batch * tokens, kv_heads, head_dim});
  };
  const auto result = at::_flash_attention_forward(
      sequences, packed(key), packed(value), on_device(first_query), on_device(first_key), rows,
      tokens, /*dropout_p=*/0, /*is_causal=*/false, /*return_debug_mask=*/false, /*scale=*/1.0,
      std::nullopt, std::nullopt, on_device(key_count));
  const auto by_query = [&](const at::Tensor& x) {  // [batch * groups * rows, kv_heads, ...]
    const at::Tensor apart = x.unflatten(0, {batch, groups, window, shared});
    return apart.transpose(3, 4).flatten(3, 4);
  };
  // The sums are [kv_heads, batch * groups * rows].
  return {by_query(std::get<0>(result)), by_query(std::get<1>(result).transpose(0, 1))};
}

// Weighs two parts by the sums of their exponentials.
AttentionResult Merged(const AttentionResult& a, const AttentionResult& b) {
  const at::Tensor weight_of_a = at::sigmoid(a.log_sums - b.log_sums).unsqueeze(-1);
  const at::Tensor wide_b = b.output.to(at::kFloat);
  const at::Tensor output = (a.output.to(at::kFloat) - wide_b).mul_(weight_of_a).add_(wide_b);
  return {output.to(a.output.scalar_type()), at::logaddexp(a.log_sums, b.log_sums)};
}

// The queries of each group attend to the stored past and to the exact tokens of their own group.
AttentionResult AttendByGroups(const at::Tensor& query, const CacheSide& keys,
                               const CacheSide& values) {
  const int64_t window = std::max(keys.window_tokens, values.window_tokens);
  const int64_t tokens = query.size(2), groups = (tokens + window - 1) / window;
  const at::Tensor queries = ByGroups(query, groups, window);
  const auto own = [&](const CacheSide& side) {
    return ByGroups(side.window_tokens > 0 ? side.exact : side.stored, groups, window)
        .flatten(0, 1);
  };
  AttentionResult result =
      FlashForward(queries.flatten(0, 1), own(keys), own(values), /*causal=*/true, 0);
  result.output = result.output.unflatten(0, {query.size(0), groups});
  result.log_sums = result.log_sums.unflatten(0, {query.size(0), groups});
  if (groups > 1) {
    const auto later = [&](const at::Tensor& x) { return x.narrow(1, 1, groups - 1); };
    const AttentionResult merged = Merged(AttendToPast(queries, keys.stored, values.stored),
                                          {later(result.output), later(result.log_sums)});
    later(result.output).copy_(merged.output);
    result.log_sums = at::cat({result.log_sums.narrow(1, 0, 1), merged.log_sums}, 1);
  }
  return {result.output.flatten(1, 2).narrow(1, 0, tokens),
          result.log_sums.flatten(1, 2).narrow(1, 0, tokens)};
}

}  // namespace

bool CanFlash(const at::Tensor& query, const CacheSide& keys, const CacheSide& values,
              const ScoreRule& rule) {
  constexpr int64_t kLargestHead = 256;
  const bool half = query.scalar_type() == at::kBFloat16 || query.scalar_type() == at::kHalf;
  if (!query.is_cuda() || !half || rule.soft_cap > 0) return false;
  const int64_t head_dim = query.size(3);
  if (values.stored.size(3) != head_dim || head_dim % 8 != 0 || head_dim > kLargestHead)
    return false;
  const int64_t a = keys.window_tokens, b = values.window_tokens;
  if (a == 0 && b == 0) return true;
  return (a == b || a == 0 || b == 0) &&
         (rule.window_tokens == 0 || rule.window_tokens >= query.size(2));
}

AttentionResult FlashAttentionWithSums(const at::Tensor& query, const CacheSide& keys,
                                       const CacheSide& values, const ScoreRule& rule) {
  const bool grouped = keys.window_tokens > 0 || values.window_tokens > 0;
  const auto by_token = [](const at::Tensor& x) { return x.transpose(1, 2); };
  AttentionResult attention =
      grouped ? AttendByGroups(query, keys, values)
              : FlashForward(by_token(query), by_token(keys.stored), by_token(values.stored),
                             /*causal=*/true, rule.window_tokens);
  if (!rule.sinks.defined()) return attention;
  // A sink takes part in the softmax, so it takes its share of the weights away.
  const at::Tensor sinks = rule.sinks.to(at::kFloat);
  const at::Tensor share = at::sigmoid(attention.log_sums - sinks);
  return {(attention.output.to(at::kFloat) * share.unsqueeze(-1)).to(query.scalar_type()),
          at::logaddexp(attention.log_sums, sinks)};
}

at::Tensor FlashAttention(const at::Tensor& query, const CacheSide& keys, const CacheSide& values,
                          const ScoreRule& rule) {
  return FlashAttentionWithSums(query, keys, values, rule).output;
}

bool HasCudnnLength(int64_t tokens) {
  constexpr int64_t kMultiple = 512;
  return tokens >= kShortestForCudnn && tokens % kMultiple == 0;
}

bool CanUseCudnn(const at::Tensor& query, const CacheSide& keys, const CacheSide& values,
                 const ScoreRule& rule) {
  constexpr int64_t kLargestHead = 128;
  const int64_t tokens = query.size(2);
  return HasCudnnLength(tokens) && query.size(3) <= kLargestHead && keys.window_tokens == 0 &&
         values.window_tokens == 0 && !rule.sinks.defined() &&
         (rule.window_tokens == 0 || rule.window_tokens >= tokens) && IsOnHopper(query) &&
         CanFlash(query, keys, values, rule);
}

AttentionResult CudnnAttention(const at::Tensor& query, const CacheSide& keys,
                               const CacheSide& values) {
  const auto attend = [&](int64_t first, int64_t count) -> AttentionResult {
    const auto some = [&](const at::Tensor& x) { return x.narrow(0, first, count); };
    const auto result = at::_scaled_dot_product_cudnn_attention(
        some(query), some(keys.stored), some(values.stored), std::nullopt,
        /*compute_log_sumexp=*/true, /*dropout_p=*/0, /*is_causal=*/true,
        /*return_debug_mask=*/false, /*scale=*/1.0);
    // The sums are [batch, query_heads, tokens, 1].
    return {std::get<0>(result).transpose(1, 2), std::get<1>(result).flatten(2).transpose(1, 2)};
  };
  // Powers of two are few shapes.
  const auto batch = static_cast<uint64_t>(query.size(0));
  if (std::has_single_bit(batch)) return attend(0, query.size(0));
  const int64_t tokens = query.size(2), heads = query.size(1);
  const AttentionResult all{
      at::empty({query.size(0), tokens, heads, values.stored.size(3)}, query.options()),
      at::empty({query.size(0), heads, tokens}, query.options().dtype(at::kFloat)).transpose(1, 2)};
  for (uint64_t first = 0; first < batch;) {
    const uint64_t count = std::bit_floor(batch - first);
    const auto begin = static_cast<int64_t>(first), size = static_cast<int64_t>(count);
    const AttentionResult some = attend(begin, size);
    all.output.narrow(0, begin, size).copy_(some.output);
    all.log_sums.narrow(0, begin, size).copy_(some.log_sums);
    first += count;
  }
  return all;
}

void CallCudnnFirst(const at::TensorOptions& options, int64_t query_heads,
                    const LayerConfig& layer) {
  if (!options.device().is_cuda()) return;
  try {
    const c10::InferenceMode no_gradients;
    const auto zeros = [&](int64_t heads, int64_t head_dim) {
      return at::zeros({1, heads, kShortestForCudnn, head_dim}, options);
    };
    const at::Tensor query = zeros(query_heads, layer.key_head_dim);
    const CacheSide keys = ExactCacheSide(zeros(layer.kv_heads, layer.key_head_dim));
    const CacheSide values = ExactCacheSide(zeros(layer.kv_heads, layer.value_head_dim));
    if (CanUseCudnn(query, keys, values, {})) CudnnAttention(query, keys, values);
  } catch (const std::exception&) {
  }
}

}  // namespace kvtune
