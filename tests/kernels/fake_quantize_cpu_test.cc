#include "lib/kernels/fake_quantize_cpu.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "lib/base/random.h"

namespace kvtune {
namespace {

std::vector<float> RandomValues(size_t count, uint64_t seed) {
  Random random(seed);
  std::vector<float> values(count);
  for (float& value : values) value = static_cast<float>(random.Unit() * 4 - 2);
  return values;
}

TEST(FakeQuantizeRows, AgreesWithTheSmallestExampleByHand) {
  // 2 bits: levels -2..1, scale = 3 / 3 = 1, zero = round(0 / 1) + 2 = 2, x^ = q + 2.
  const std::vector<float> row = {0, 0.4f, 0.5f, 1.5f, 2.6f, 3};
  std::vector<float> out(row.size());
  FakeQuantizeRows(row.data(), out.data(), 1, 6, 6, 2);
  EXPECT_EQ(out, (std::vector<float>{0, 0, 0, 2, 3, 3}));  // 0.5 and 1.5 go to the even neighbour
}

TEST(FakeQuantizeRows, IntegerZeroCanClipTheMaximumByHalfAStep) {
  // scale = 1, min / scale = 0.5 rounds to 0: levels 0..3 while the maximum is 3.5.
  const std::vector<float> row = {0.5f, 3.5f};
  std::vector<float> out(2);
  FakeQuantizeRows(row.data(), out.data(), 1, 2, 2, 2);
  EXPECT_EQ(out, (std::vector<float>{0, 3}));
}

TEST(FakeQuantizeRows, ErrorIsAtMostOneStep) {
  for (const int bits : {2, 4, 8}) {
    const std::vector<float> in = RandomValues(64 * 20, 7);
    std::vector<float> out(in.size());
    FakeQuantizeRows(in.data(), out.data(), 20, 64, 64, bits);
    for (size_t row = 0; row < 20; ++row) {
      const auto [low, high] =
          std::minmax_element(in.begin() + row * 64, in.begin() + (row + 1) * 64);
      const float step = (*high - *low) / static_cast<float>((1 << bits) - 1);
      for (size_t i = row * 64; i < (row + 1) * 64; ++i)
        EXPECT_LE(std::abs(in[i] - out[i]), step * 1.001f);
    }
  }
}

TEST(FakeQuantizeRows, LastRowOfAVectorMayBeShorter) {
  const std::vector<float> in = RandomValues(80, 3);
  std::vector<float> grouped(80), tail(16);
  FakeQuantizeRows(in.data(), grouped.data(), 1, 80, 32, 4);
  FakeQuantizeRows(in.data() + 64, tail.data(), 1, 16, 16, 4);
  EXPECT_TRUE(std::equal(tail.begin(), tail.end(), grouped.begin() + 64));
}

TEST(FakeQuantizeColumns, EqualsRowsOfTheTransposedTensor) {
  const int64_t tokens = 70, channels = 100, group = 32;
  const std::vector<float> in = RandomValues(tokens * channels, 5);
  std::vector<float> out(in.size());
  FakeQuantizeColumns(in.data(), out.data(), 1, tokens, channels, group, 4);
  for (int64_t c = 0; c < channels; ++c) {
    std::vector<float> column(64), expected(64);
    for (int64_t t = 0; t < 64; ++t) column[t] = in[t * channels + c];
    FakeQuantizeRows(column.data(), expected.data(), 1, 64, group, 4);
    for (int64_t t = 0; t < 64; ++t) ASSERT_EQ(out[t * channels + c], expected[t]);
    for (int64_t t = 64; t < tokens; ++t) ASSERT_EQ(out[t * channels + c], in[t * channels + c]);
  }
}

TEST(FakeQuantizeRows, LengthsAroundAGroup) {
  for (const int64_t group : {16, 32, 64}) {
    for (const int64_t size : {int64_t{1}, group - 1, group, group + 1, 2 * group - 1, 2 * group,
                               2 * group + 1, 3 * group + 5}) {
      const std::vector<float> in = RandomValues(static_cast<size_t>(size), 13);
      std::vector<float> out(in.size());
      FakeQuantizeRows(in.data(), out.data(), 1, size, group, 4);
      for (int64_t begin = 0; begin < size; begin += group) {
        const int64_t length = std::min(group, size - begin);
        std::vector<float> alone(static_cast<size_t>(length));
        FakeQuantizeRows(in.data() + begin, alone.data(), 1, length, length, 4);
        EXPECT_TRUE(std::equal(alone.begin(), alone.end(), out.begin() + begin))
            << size << " elements in groups of " << group << ", from " << begin;
      }
    }
  }
}

TEST(FakeQuantizeColumns, LengthsAroundAGroup) {
  constexpr int64_t kChannels = 5, kGroup = 32;
  for (const int64_t tokens : {1, 31, 32, 33, 63, 64, 65}) {
    const std::vector<float> in = RandomValues(static_cast<size_t>(tokens * kChannels), 15);
    std::vector<float> out(in.size());
    FakeQuantizeColumns(in.data(), out.data(), 1, tokens, kChannels, kGroup, 2);
    const int64_t stored = tokens / kGroup * kGroup;  // whole groups only
    const auto end = static_cast<ptrdiff_t>(stored * kChannels);
    EXPECT_TRUE(std::equal(in.begin() + end, in.end(), out.begin() + end)) << tokens << " tokens";
    EXPECT_EQ(stored > 0, in != out) << tokens << " tokens";
    for (int64_t channel = 0; channel < kChannels; ++channel) {
      for (int64_t begin = 0; begin < stored; begin += kGroup) {
        std::vector<float> column, expected(kGroup);
        for (int64_t t = begin; t < begin + kGroup; ++t)
          column.push_back(in[static_cast<size_t>(t * kChannels + channel)]);
        FakeQuantizeRows(column.data(), expected.data(), 1, kGroup, kGroup, 2);
        for (int64_t t = begin; t < begin + kGroup; ++t) {
          ASSERT_EQ(out[static_cast<size_t>(t * kChannels + channel)],
                    expected[static_cast<size_t>(t - begin)]);
        }
      }
    }
  }
}

TEST(FakeQuantizeColumns, WorksInPlace) {
  std::vector<float> in = RandomValues(3 * 64 * 16, 9);
  std::vector<float> out(in.size());
  FakeQuantizeColumns(in.data(), out.data(), 3, 64, 16, 32, 2);
  FakeQuantizeColumns(in.data(), in.data(), 3, 64, 16, 32, 2);
  EXPECT_EQ(in, out);
}

}  // namespace
}  // namespace kvtune
