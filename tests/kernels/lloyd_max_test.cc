#include "lib/kernels/lloyd_max.h"

#include <gtest/gtest.h>

#include <cmath>
#include <thread>
#include <utility>
#include <vector>

namespace kvtune {
namespace {

// J. Max, Quantizing for Minimum Distortion, IRE Trans. Inf. Theory 6 (1960), table I: of
// variance 1. vLLM's trapezoidal rule has the outermost level a little nearer to 0.
TEST(LloydMax, LevelsAreThoseOfTheLiterature) {
  const std::vector<double> of_8 = {0.2451, 0.7560, 1.344, 2.152};
  const std::vector<double> of_16 = {0.1284, 0.3881, 0.6568, 0.9424, 1.256, 1.618, 2.069, 2.733};
  for (const int64_t head_dim : {16, 64, 128, 256}) {
    for (const auto& [bits, expected] : {std::pair(3, of_8), std::pair(4, of_16)}) {
      const std::vector<float>& levels = LloydMaxLevels(head_dim, bits);
      ASSERT_EQ(levels.size(), 2 * expected.size());
      for (size_t i = 0; i < expected.size(); ++i) {
        const double level = static_cast<double>(levels[expected.size() + i]);
        EXPECT_NEAR(level * std::sqrt(head_dim), expected[i], 1e-3 * expected[i])
            << head_dim << ", " << bits << " bits, " << i;
        EXPECT_EQ(levels[expected.size() - 1 - i], -levels[expected.size() + i]);  // 0 is a middle
      }
    }
  }
  // One bit: the means of both halves, sqrt(2 / pi) away from 0.
  EXPECT_NEAR(static_cast<double>(LloydMaxLevels(1, 1)[1]), 0.79788, 1e-3);
}

TEST(LloydMax, LevelsRise) {
  for (int bits = 1; bits <= 8; ++bits) {
    const std::vector<float>& levels = LloydMaxLevels(64, bits);
    ASSERT_EQ(levels.size(), size_t{1} << bits);
    for (size_t i = 1; i < levels.size(); ++i) EXPECT_LT(levels[i - 1], levels[i]) << bits;
  }
}

TEST(LloydMax, EveryThreadReadsTheSameLevels) {
  std::vector<const std::vector<float>*> seen(8);
  std::vector<std::thread> threads;
  for (size_t i = 0; i < seen.size(); ++i)
    threads.emplace_back([&seen, i] { seen[i] = &LloydMaxLevels(80 + i % 2, 3); });
  for (std::thread& thread : threads) thread.join();
  for (size_t i = 2; i < seen.size(); ++i) EXPECT_EQ(seen[i], seen[i - 2]);
  EXPECT_NE(seen[0], seen[1]);
}

}  // namespace
}  // namespace kvtune
