// Errors of attention: those by flash attention against those with weights in memory, in float32 on
// the CPU.
#include "lib/runner/attention_errors.h"

#include <ATen/ops/allclose.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/tensor.h>
#include <gtest/gtest.h>

#include <cmath>
#include <vector>

namespace kvtune {
namespace {

struct AttentionCase {
  int64_t query_heads, kv_heads, tokens, head_dim;
  int64_t first_counted = 0;
  int64_t residual_window = 0;
  int64_t sliding_window = 0;
  bool sinks = false;
};

// The values are those of half precision, so that a CPU and a GPU compute from the same numbers.
at::Tensor RandomTensor(at::IntArrayRef shape, double scale) {
  return (at::randn(shape, at::kFloat) * scale).to(at::kBFloat16).to(at::kFloat);
}

CacheSide Stored(const at::Tensor& exact, double error, int64_t window) {
  at::Tensor stored = (exact + RandomTensor(exact.sizes(), error)).to(at::kBFloat16).to(at::kFloat);
  // An unfinished group is stored exactly.
  const int64_t rest = window > 0 ? exact.size(2) % window : 0;
  stored.narrow(2, exact.size(2) - rest, rest).copy_(exact.narrow(2, exact.size(2) - rest, rest));
  return {stored, exact, window};
}

// Two formats of keys and two of values in three pairs.
ComparedAttention RandomAttention(const AttentionCase& c) {
  const at::Tensor key = RandomTensor({1, c.kv_heads, c.tokens, c.head_dim}, 1);
  const at::Tensor value = RandomTensor({1, c.kv_heads, c.tokens, c.head_dim}, 1);
  const at::Tensor sinks = c.sinks ? RandomTensor({c.query_heads}, 1) : at::Tensor();
  return {.query = RandomTensor({1, c.query_heads, c.tokens, c.head_dim}, 0.2),
          .rule = {.window_tokens = c.sliding_window, .sinks = sinks},
          .exact_key = ExactCacheSide(key),
          .exact_value = ExactCacheSide(value),
          .keys = {Stored(key, 0.5, c.residual_window), Stored(key, 0.1, c.residual_window)},
          .values = {Stored(value, 0.5, c.residual_window), Stored(value, 0.2, c.residual_window)},
          .pairs = {{0, 0}, {1, 0}, {1, 1}}};
}

AttentionErrors ErrorsOfAll(const ComparedAttention& attention, int64_t first_counted) {
  return ErrorsOfBlock(attention, {0, attention.query.size(2), 0}, first_counted);
}

ComparedAttention OnDevice(const ComparedAttention& attention) {
  const auto moved = [](const at::Tensor& x) {
    return x.defined() ? x.to(at::TensorOptions(at::kBFloat16).device(at::kCUDA)) : x;
  };
  ComparedAttention there = attention;
  there.query = moved(attention.query);
  there.rule.sinks = moved(attention.rule.sinks);
  const auto move_side = [&](CacheSide& side) {
    side.stored = moved(side.stored);
    side.exact = moved(side.exact);
  };
  move_side(there.exact_key);
  move_side(there.exact_value);
  for (CacheSide& side : there.keys) move_side(side);
  for (CacheSide& side : there.values) move_side(side);
  return there;
}

class AttentionErrorsByFlash : public ::testing::TestWithParam<AttentionCase> {};

TEST_P(AttentionErrorsByFlash, AreThoseWithWeightsInMemory) {
  if (!at::hasCUDA()) GTEST_SKIP() << "no CUDA device";
  at::manual_seed(7);
  const AttentionCase& c = GetParam();
  const ComparedAttention attention = RandomAttention(c);
  const AttentionErrors expected = ErrorsOfAll(attention, c.first_counted);
  const ComparedAttention there = OnDevice(attention);
  if (!CanCompareByFlash(there)) GTEST_SKIP() << "built without the CUDA kernels";
  const ErrorsWithOutput found = ErrorsByFlash(there, c.first_counted);
  EXPECT_TRUE(at::allclose(found.errors.weights.cpu(), expected.weights, 1e-4, 1e-6));
  EXPECT_TRUE(at::allclose(found.errors.largest.cpu(), expected.largest, 1e-4, 1e-6));
  ASSERT_EQ(found.errors.outputs.sizes(), expected.outputs.sizes());
  // Outputs are rounded to bfloat16, by at most 2^-9 of themselves, which hardly moves sums of
  // errors that are many times as large.
  const auto sum = [](const AttentionErrors& errors, int64_t i) {
    return errors.outputs.cpu().select(2, i);
  };
  for (const int64_t i : {0, 1}) {
    EXPECT_TRUE(at::allclose(sum(found.errors, i), sum(expected, i), 5e-3, 1e-3)) << i;
  }
  // An output that is rounded to 0 is not counted.
  EXPECT_TRUE(at::allclose(sum(found.errors, 3), sum(expected, 3), 1e-3, 0));
  const at::Tensor output = found.exact_output.cpu().to(at::kFloat).transpose(1, 2);
  const at::Tensor exact = ExactAttention(attention.query, attention.exact_key.exact,
                                          attention.exact_value.exact, attention.rule)
                               .transpose(1, 2);
  EXPECT_LT(at::abs(output - exact).max().item<float>(), 0.03);
}

TEST_P(AttentionErrorsByFlash, SidesAreComparedAsOnACpu) {
  if (!at::hasCUDA()) GTEST_SKIP() << "no CUDA device";
  at::manual_seed(8);
  const ComparedAttention attention = RandomAttention(GetParam());
  const ComparedAttention there = OnDevice(attention);
  const SideErrors expected = CompareSides(attention.exact_key.exact, attention.keys);
  const SideErrors found = CompareSides(there.exact_key.exact, there.keys);
  EXPECT_TRUE(at::allclose(found.heads.cpu(), expected.heads, 1e-5));
  EXPECT_TRUE(at::allclose(found.channel_error.cpu(), expected.channel_error, 1e-5));
  EXPECT_TRUE(at::allclose(found.channel_total.cpu(), expected.channel_total, 1e-5));
}

INSTANTIATE_TEST_SUITE_P(Cases, AttentionErrorsByFlash,
                         ::testing::Values(AttentionCase{4, 2, 100, 64},
                                           AttentionCase{8, 8, 257, 128},
                                           AttentionCase{4, 1, 1, 64},
                                           AttentionCase{8, 2, 300, 64, 101},
                                           AttentionCase{2, 1, 4096, 64, 100},  // cuDNN on Hopper
                                           AttentionCase{8, 2, 300, 64, 0, 0, 50},
                                           AttentionCase{8, 2, 130, 64, 0, 0, 0, true},
                                           AttentionCase{8, 2, 205, 128, 0, 32},
                                           AttentionCase{4, 2, 140, 64, 70, 32, 0, true}));

// Two tokens, one head, one channel. The query of the second token sees scores 0 and 0 exactly, and
// 0 and log 3 with quantized keys: weights of 1/2 and 1/2 become 1/4 and 3/4.
TEST(AttentionErrors, AreThoseOfASmallExample) {
  const auto tokens = [](float first, float second) {
    return at::tensor({first, second}, at::kFloat).view({1, 1, 2, 1});
  };
  const at::Tensor key = tokens(0, 0), value = tokens(1, 3);
  const ComparedAttention attention{
      .query = tokens(1, 1),
      .rule = {},
      .exact_key = ExactCacheSide(key),
      .exact_value = ExactCacheSide(value),
      .keys = {{tokens(0, std::log(3.0f)), key, 0}, ExactCacheSide(key)},
      .values = {ExactCacheSide(value), {tokens(2, 3), value, 0}},
      .pairs = {{0, 0}, {1, 1}}};
  const AttentionErrors all = ErrorsOfAll(attention, 0);
  const auto expect = [](const at::Tensor& found, std::vector<double> expected) {
    EXPECT_TRUE(at::allclose(found.flatten(), at::tensor(expected, at::kDouble), 1e-6, 1e-6))
        << found;
  };
  expect(all.weights, {0.5, 0});
  expect(all.largest, {1.5});
  // The exact outputs are 1 and 2. The first pair gives 1 and 2.5, the second one 2 and 2.5.
  expect(all.outputs, {0.5, 3, 0.25, 2, 1.5, 3, 1.25, 2});
  const AttentionErrors second = ErrorsOfAll(attention, 1);
  expect(second.weights, {0.5, 0});
  expect(second.largest, {0.5});
  expect(second.outputs, {0.5, 2, 0.25, 1, 0.5, 2, 0.25, 1});
}

// One head with two channels and two tokens.
TEST(SideErrors, AreThoseOfASmallExample) {
  const auto tokens = [](std::vector<float> elements) {
    return at::tensor(elements, at::kFloat).view({1, 1, 2, 2});
  };
  const at::Tensor exact = tokens({1, 0, -2, 4});
  const SideErrors errors =
      CompareSides(exact, {{tokens({2, 1, -2, 3}), exact, 0}, ExactCacheSide(exact)});
  const auto expect = [](const at::Tensor& found, std::vector<double> expected) {
    EXPECT_TRUE(at::equal(found.flatten(), at::tensor(expected, at::kDouble))) << found;
  };
  expect(errors.heads, {3, 7, 1.25, 3, 0, 7, 0, 3});
  expect(errors.channel_error, {1, 2, 0, 0});
  expect(errors.channel_total, {3, 4});
}

TEST(AttentionErrors, BlocksAddUp) {
  at::manual_seed(3);
  const ComparedAttention attention = RandomAttention({4, 2, 70, 8, 0, 32});
  const AttentionErrors whole = ErrorsOfAll(attention, 0);
  ASSERT_EQ(attention.alignment(), 32);
  const AttentionErrors a = ErrorsOfBlock(attention, {0, 32, 0}, 0);
  const AttentionErrors b = ErrorsOfBlock(attention, {32, 70, 0}, 0);
  EXPECT_TRUE(at::allclose(a.weights + b.weights, whole.weights, 1e-5));
  EXPECT_TRUE(at::allclose(a.outputs + b.outputs, whole.outputs, 1e-5));
  EXPECT_TRUE(at::allclose(a.largest + b.largest, whole.largest, 1e-5));
}

TEST(AttentionErrors, WithoutPairsAreTheLargestWeights) {
  ComparedAttention attention = RandomAttention({4, 2, 9, 8});
  const at::Tensor largest = ErrorsOfAll(attention, 0).largest;
  attention.keys.clear();
  attention.values.clear();
  attention.pairs.clear();
  const AttentionErrors errors = ErrorsOfAll(attention, 0);
  EXPECT_EQ(errors.weights.sizes(), at::IntArrayRef({0, 2}));
  EXPECT_EQ(errors.outputs.sizes(), at::IntArrayRef({0, 2, 4}));
  EXPECT_TRUE(errors.largest.equal(largest));
}

}  // namespace
}  // namespace kvtune
