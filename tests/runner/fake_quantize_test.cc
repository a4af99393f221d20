// Fake quantization of tensors: windows, calibrated scales, types, and CUDA against the CPU.
#include "lib/runner/fake_quantize.h"

#include <ATen/ops/equal.h>
#include <ATen/ops/randn.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "lib/base/error.h"

namespace kvtune {
namespace {

using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

// [2, 3, tokens, head_dim], with an outlier channel.
at::Tensor RandomHeads(int64_t tokens, int64_t head_dim) {
  at::manual_seed(7);
  at::Tensor x = at::randn({2, 3, tokens, head_dim}, at::kFloat);
  x.select(-1, 5).mul_(40);
  return x;
}

const std::vector<float> kMaxima = {200, 150, 100};

TEST(FakeQuantize, OnlyFullWindowsAreStored) {
  const at::Tensor x = RandomHeads(300, 64);
  const at::Tensor out = FakeQuantize(x, FormatOf(KvFormatId::kQuantoInt4), {KvSide::kKey});
  EXPECT_FALSE(at::equal(out.narrow(2, 128, 128), x.narrow(2, 128, 128)));
  EXPECT_TRUE(at::equal(out.narrow(2, 256, 44), x.narrow(2, 256, 44)));
  EXPECT_TRUE(at::equal(FakeQuantize(x, FormatOf(KvFormatId::kExact), {KvSide::kKey}), x));
}

// A window holds back what does not fill it: whole windows are stored, and what follows is exact.
TEST(FakeQuantize, LengthsAroundEveryGroupAndWindow) {
  for (const KvFormat& format : Formats()) {
    if (format.is_exact()) continue;
    for (const KvSide side : {KvSide::kKey, KvSide::kValue}) {
      const int64_t window = format.residual_window_tokens;
      const int64_t step = window > 0 ? window : 32;
      for (const int64_t tokens :
           {int64_t{1}, step - 1, step, step + 1, 2 * step - 1, 2 * step, 2 * step + 1}) {
        const at::Tensor x = RandomHeads(tokens, 64);
        const at::Tensor out = FakeQuantize(x, format, {side, kMaxima});
        const int64_t stored = window > 0 ? tokens / window * window : tokens;
        EXPECT_TRUE(
            at::equal(out.narrow(2, stored, tokens - stored), x.narrow(2, stored, tokens - stored)))
            << format.name << " of " << tokens << " tokens";
        EXPECT_EQ(at::equal(out, x), stored == 0) << format.name << " of " << tokens << " tokens";
        if (stored == 0) continue;
        // What is stored does not depend on what comes later.
        EXPECT_TRUE(
            at::equal(out.narrow(2, 0, stored),
                      FakeQuantize(x.narrow(2, 0, stored).contiguous(), format, {side, kMaxima})))
            << format.name << " of " << tokens << " tokens";
      }
    }
  }
}

TEST(FakeQuantize, CalibratedScalesAreOfTheLayer) {
  const at::Tensor x = RandomHeads(4, 16);
  const auto with = [&](KvFormatId id, float scale) {
    // fp8_e4m3 has the scale 1.
    return FakeQuantize(x / scale, FormatOf(id), {KvSide::kKey, kMaxima}) * scale;
  };
  const at::Tensor tensor =
      FakeQuantize(x, FormatOf(KvFormatId::kFp8E4m3Calibrated), {KvSide::kKey, kMaxima});
  EXPECT_TRUE(at::equal(tensor, with(KvFormatId::kFp8E4m3, 200.0f / 448)));
  EXPECT_FALSE(at::equal(tensor, with(KvFormatId::kFp8E4m3, 100.0f / 448)));
}

TEST(FakeQuantize, CalibratedScalesAreAskedFor) {
  EXPECT_THAT(([] {
                FakeQuantize(RandomHeads(4, 16), FormatOf(KvFormatId::kNvfp4Calibrated),
                             {KvSide::kKey});
              }),
              ThrowsMessage<Error>(HasSubstr("nvfp4_calibrated: found no calibrated scales")));
}

TEST(FakeQuantize, HalfPrecisionIsFloat32RoundedOnce) {
  for (const KvFormat& format : Formats()) {
    if (format.numerics == Numerics::kKvtunerAsymmetric)
      continue;  // KVTuner computes in x's own type
    const at::Tensor x = RandomHeads(128, 64).to(at::kBFloat16);
    const at::Tensor wide = FakeQuantize(x.to(at::kFloat), format, {KvSide::kValue, kMaxima});
    EXPECT_TRUE(
        at::equal(FakeQuantize(x, format, {KvSide::kValue, kMaxima}), wide.to(at::kBFloat16)))
        << format.name;
  }
}

// A GGUF file of a Llama has channels 0, 4, 1, 5, ... of a head of 8: so must the groups.
TEST(FakeQuantize, GgmlKeysMayHaveTheirRotaryPairsSideBySide) {
  const at::Tensor x = RandomHeads(3, 64);
  std::vector<int64_t> order, place(64);
  for (int64_t i = 0; i < 32; ++i) order.insert(order.end(), {i, i + 32});
  for (int64_t i = 0; i < 64; ++i) place[static_cast<size_t>(order[static_cast<size_t>(i)])] = i;
  const auto channels = [](const at::Tensor& from, const std::vector<int64_t>& indices) {
    return from.index_select(-1, at::tensor(indices));
  };
  for (const KvFormatId id : {KvFormatId::kQ4_0, KvFormatId::kIkQ8_0, KvFormatId::kIkIq4NlHad}) {
    const KvFormat& format = FormatOf(id);
    const at::Tensor halves = FakeQuantize(x, format, {KvSide::kKey});
    const at::Tensor neighbours = FakeQuantize(x, format, {KvSide::kKey, {}, true});
    EXPECT_FALSE(at::equal(neighbours, halves)) << format.name;
    EXPECT_TRUE(at::equal(
        neighbours, channels(FakeQuantize(channels(x, order), format, {KvSide::kKey}), place)))
        << format.name;
    EXPECT_TRUE(at::equal(FakeQuantize(x, format, {KvSide::kValue, {}, true}),
                          FakeQuantize(x, format, {KvSide::kValue})));
  }
  const KvFormat& mlx = FormatOf(KvFormatId::kMlxInt4);
  EXPECT_TRUE(at::equal(FakeQuantize(x, mlx, {KvSide::kKey, {}, true}),
                        FakeQuantize(x, mlx, {KvSide::kKey})));
}

class OnCuda : public ::testing::TestWithParam<at::ScalarType> {};

TEST_P(OnCuda, GivesTheBitsOfTheCpu) {
  if (!at::hasCUDA()) GTEST_SKIP() << "no CUDA device";
  for (const KvFormat& format : Formats()) {
    for (const KvSide side : {KvSide::kKey, KvSide::kValue}) {
      for (const int64_t head_dim : {64, 80, 128}) {
        const at::Tensor x = RandomHeads(261, head_dim).to(GetParam());
        const at::Tensor expected = FakeQuantize(x, format, {side, kMaxima});
        const at::Tensor found =
            FakeQuantize(x.to(at::kCUDA), format, {side, kMaxima}).to(at::kCPU);
        const double differing = (found != expected).sum().item<double>();
        EXPECT_EQ(differing, 0)
            << format.name << (side == KvSide::kKey ? " keys" : " values") << ", head_dim "
            << head_dim << ", largest difference "
            << at::abs(found.to(at::kFloat) - expected.to(at::kFloat)).max().item<double>();
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Types, OnCuda, ::testing::Values(at::kFloat, at::kBFloat16, at::kHalf),
                         [](const auto& test) { return std::string(at::toString(test.param)); });

}  // namespace
}  // namespace kvtune
