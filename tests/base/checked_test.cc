#include "lib/base/checked.h"

#include <gtest/gtest.h>

#include <limits>

namespace kvtune {
namespace {

TEST(Checked, ProductsAndSumsThatFit) {
  EXPECT_EQ(CheckedProduct({}), 1);
  EXPECT_EQ(CheckedProduct({3, -4, 5}), -60);
  EXPECT_EQ(CheckedProduct({int64_t{1} << 31, int64_t{1} << 31}), int64_t{1} << 62);
  EXPECT_EQ(CheckedSum({}), 0);
  EXPECT_EQ(CheckedSum({std::numeric_limits<int64_t>::max(), -1}),
            std::numeric_limits<int64_t>::max() - 1);
}

TEST(Checked, OthersAreNone) {
  EXPECT_EQ(CheckedProduct({int64_t{1} << 32, int64_t{1} << 31}), std::nullopt);
  // On the way, whatever the last factor is.
  EXPECT_EQ(CheckedProduct({int64_t{1} << 40, int64_t{1} << 40, 0}), std::nullopt);
  EXPECT_EQ(CheckedSum({std::numeric_limits<int64_t>::max(), 1}), std::nullopt);
}

}  // namespace
}  // namespace kvtune
