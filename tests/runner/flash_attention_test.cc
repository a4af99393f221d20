// Attention by the flash kernels against attention with stored weights, in float32 on the CPU.
#include "lib/runner/flash_attention.h"

#include <ATen/ops/randn.h>
#include <gtest/gtest.h>

namespace kvtune {
namespace {

struct AttentionShape {
  int64_t batch, query_heads, kv_heads, tokens, head_dim;
  int64_t key_window = 0, value_window = 0;  // residual windows
  int64_t sliding_window = 0;
  bool sinks = false;
};

class FlashAttentionOnCuda : public ::testing::TestWithParam<AttentionShape> {};

at::Tensor Expected(const at::Tensor& query, const CacheSide& keys, const CacheSide& values,
                    const ScoreRule& rule) {
  const int64_t tokens = query.size(2);
  const int64_t alignment = std::max<int64_t>({1, keys.window_tokens, values.window_tokens});
  at::Tensor output = at::empty({query.size(0), tokens, query.size(1), values.stored.size(3)});
  for (const QueryBlock& block : QueryBlocks(0, tokens, alignment, rule.window_tokens,
                                             query.size(0) * query.size(1), 1 << 18)) {
    output.narrow(1, block.begin, block.end - block.begin)
        .copy_(AttentionOutput(AttentionWeights(query, keys, block, rule), values, block)
                   .transpose(1, 2));
  }
  return output;
}

TEST_P(FlashAttentionOnCuda, EqualsAttentionWithStoredWeights) {
  if (!at::hasCUDA()) GTEST_SKIP() << "no CUDA device";
  const AttentionShape& c = GetParam();
  at::manual_seed(5);
  // The values are those of half precision, so that both sides compute from the same numbers.
  const auto random = [](at::IntArrayRef shape, double scale) {
    return (at::randn(shape, at::kFloat) * scale).to(at::kBFloat16).to(at::kFloat);
  };
  const at::Tensor query = random({c.batch, c.query_heads, c.tokens, c.head_dim}, 0.2);
  const auto side = [&](int64_t window) {
    const at::Tensor exact = random({c.batch, c.kv_heads, c.tokens, c.head_dim}, 1);
    at::Tensor stored = exact + random(exact.sizes(), 0.5);
    // An unfinished group is stored exactly.
    const int64_t rest = window > 0 ? c.tokens % window : 0;
    stored.narrow(2, c.tokens - rest, rest).copy_(exact.narrow(2, c.tokens - rest, rest));
    return CacheSide{stored.to(at::kBFloat16).to(at::kFloat), exact, window};
  };
  const CacheSide keys = side(c.key_window), values = side(c.value_window);
  const ScoreRule rule{.window_tokens = c.sliding_window,
                       .sinks = c.sinks ? random({c.query_heads}, 1) : at::Tensor()};
  const at::Tensor expected = Expected(query, keys, values, rule);

  const auto on_device = [](const at::Tensor& x) {
    return x.to(at::TensorOptions(at::kBFloat16).device(at::kCUDA));
  };
  const auto side_on_device = [&](const CacheSide& x) {
    return CacheSide{on_device(x.stored), on_device(x.exact), x.window_tokens};
  };
  const CacheSide device_keys = side_on_device(keys), device_values = side_on_device(values);
  const ScoreRule device_rule{.window_tokens = c.sliding_window,
                              .sinks = c.sinks ? on_device(rule.sinks) : at::Tensor()};
  ASSERT_TRUE(CanFlash(on_device(query), device_keys, device_values, device_rule));
  const at::Tensor found = FlashAttention(on_device(query), device_keys, device_values, device_rule)
                               .cpu()
                               .to(at::kFloat);
  // Outputs are about 1; bfloat16 rounds them by at most 2^-9 and the weights inside by as much.
  EXPECT_LT(at::abs(found - expected).max().item<float>(), 0.03);
  EXPECT_LT(at::abs(found - expected).mean().item<float>(), 0.002);
}

INSTANTIATE_TEST_SUITE_P(
    Cases, FlashAttentionOnCuda,
    ::testing::Values(
        AttentionShape{1, 4, 2, 100, 64}, AttentionShape{2, 8, 8, 257, 128},
        AttentionShape{1, 4, 1, 1, 64}, AttentionShape{1, 8, 2, 300, 64, 0, 0, 50},
        AttentionShape{1, 8, 2, 130, 64, 0, 0, 0, true}, AttentionShape{1, 8, 2, 128, 64, 32, 32},
        AttentionShape{2, 8, 2, 205, 128, 32, 32}, AttentionShape{1, 6, 2, 31, 64, 32, 32},
        AttentionShape{1, 6, 2, 33, 64, 32, 32}, AttentionShape{1, 7, 1, 300, 64, 128, 128},
        AttentionShape{1, 4, 4, 100, 64, 32, 0}, AttentionShape{1, 4, 4, 100, 64, 0, 32},
        AttentionShape{1, 4, 2, 140, 64, 32, 32, 0, true}));

// Batches that are one power of two and others, of lengths for which cuDNN is worth its cost.
TEST(CudnnAttention, EqualsFlashAttention) {
  if (!at::hasCUDA()) GTEST_SKIP() << "no CUDA device";
  at::manual_seed(6);
  const auto random = [](at::IntArrayRef shape) {
    return at::randn(shape, at::TensorOptions(at::kBFloat16).device(at::kCUDA));
  };
  for (const int64_t batch : {1, 3, 4}) {
    // By token, as the decoder gathers queries.
    const at::Tensor query = (random({batch, 1024, 8, 64}) * 0.2).transpose(1, 2);
    const CacheSide keys = ExactCacheSide(random({batch, 2, 1024, 64}));
    const CacheSide values = ExactCacheSide(random({batch, 2, 1024, 64}));
    if (!CanUseCudnn(query, keys, values, {})) GTEST_SKIP() << "not a Hopper GPU, or no kernels";
    const AttentionResult found = CudnnAttention(query, keys, values);
    const AttentionResult expected = FlashAttentionWithSums(query, keys, values, {});
    ASSERT_EQ(found.output.sizes(), expected.output.sizes());
    ASSERT_EQ(found.log_sums.sizes(), expected.log_sums.sizes());
    // Outputs are up to 4 at the first tokens; both sides round them to bfloat16.
    const at::Tensor distance =
        at::abs(found.output.to(at::kFloat) - expected.output.to(at::kFloat));
    EXPECT_LT(distance.max().item<float>(), 0.04);
    EXPECT_LT(distance.mean().item<float>(), 0.001);
    EXPECT_LT(at::abs(found.log_sums - expected.log_sums).max().item<float>(), 1e-4);
  }
}

TEST(CudnnAttention, IsForLongPromptsOfRoundLengths) {
  const auto can = [](at::IntArrayRef shape, const ScoreRule& rule, int64_t window = 0) {
    const at::Tensor query = at::zeros(
        shape, at::TensorOptions(at::kBFloat16).device(at::hasCUDA() ? at::kCUDA : at::kCPU));
    const CacheSide side{query, query, window};
    return CanUseCudnn(query, side, side, rule);
  };
  if (!can({1, 2, 1024, 64}, {})) GTEST_SKIP() << "not a Hopper GPU, or no kernels";
  EXPECT_TRUE(can({1, 2, 2560, 64}, ScoreRule{2560, 0, {}}));
  EXPECT_FALSE(can({1, 2, 512, 64}, {}));
  EXPECT_FALSE(can({1, 2, 1025, 64}, {}));
  EXPECT_FALSE(can({1, 2, 1024, 192}, {}));
  EXPECT_FALSE(can({1, 2, 1024, 64}, ScoreRule{1000, 0, {}}));
  EXPECT_FALSE(can({1, 2, 1024, 64}, {}, 32));
}

TEST(FlashAttention, LeavesTheRestToStoredWeights) {
  const at::Tensor query = at::zeros({1, 2, 4, 8}, at::kBFloat16);
  const CacheSide side = ExactCacheSide(query);
  EXPECT_FALSE(CanFlash(query, side, side, {}));  // on a CPU
  if (!at::hasCUDA()) GTEST_SKIP() << "no CUDA device";
  const auto can = [](at::ScalarType type, int64_t key_dim, int64_t value_dim, int64_t key_window,
                      int64_t value_window, const ScoreRule& rule) {
    const auto zeros = [&](int64_t dim) {
      return at::zeros({1, 2, 300, dim}, at::TensorOptions(type).device(at::kCUDA));
    };
    const CacheSide keys{zeros(key_dim), zeros(key_dim), key_window};
    const CacheSide values{zeros(value_dim), zeros(value_dim), value_window};
    return CanFlash(zeros(key_dim), keys, values, rule);
  };
  EXPECT_TRUE(can(at::kHalf, 64, 64, 32, 32, {}));
  EXPECT_FALSE(can(at::kFloat, 64, 64, 0, 0, {}));
  EXPECT_FALSE(can(at::kHalf, 64, 32, 0, 0, {}));
  EXPECT_FALSE(can(at::kHalf, 36, 36, 0, 0, {}));
  EXPECT_FALSE(can(at::kHalf, 64, 64, 32, 128, {}));
  EXPECT_FALSE(can(at::kHalf, 64, 64, 32, 32, ScoreRule{64, 0, {}}));
  EXPECT_TRUE(can(at::kHalf, 64, 64, 32, 32, ScoreRule{300, 0, {}}));
  EXPECT_FALSE(can(at::kHalf, 64, 64, 0, 0, ScoreRule{0, 50, {}}));
}

}  // namespace
}  // namespace kvtune
