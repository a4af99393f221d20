#include "lib/runner/extent_pool.h"

#include <gtest/gtest.h>

#include <map>
#include <optional>
#include <vector>

#include "lib/base/random.h"

namespace kvtune {
namespace {

TEST(ExtentPool, TakesTheFirstRangeThatIsLongEnough) {
  ExtentPool pool(10);
  EXPECT_EQ(pool.Take(4), 0);
  EXPECT_EQ(pool.Take(4), 4);
  EXPECT_EQ(pool.Take(3), std::nullopt);
  EXPECT_EQ(pool.Take(2), 8);
  pool.Give(0);
  EXPECT_EQ(pool.Take(5), std::nullopt);
  EXPECT_EQ(pool.Take(3), 0);
  EXPECT_EQ(pool.Take(1), 3);
}

TEST(ExtentPool, WhatIsGivenBackJoinsItsNeighbours) {
  ExtentPool pool(9);
  for (int64_t begin = 0; begin < 9; begin += 3) ASSERT_EQ(pool.Take(3), begin);
  pool.Give(0);
  pool.Give(6);
  EXPECT_EQ(pool.Take(4), std::nullopt);
  pool.Give(3);
  EXPECT_EQ(pool.Take(9), 0);
}

TEST(ExtentPool, RangesNeverOverlapAndAllComesBack) {
  constexpr int64_t kUnits = 200;
  ExtentPool pool(kUnits);
  Random random(7);
  std::map<int64_t, int64_t> taken;
  std::vector<char> is_taken(kUnits, 0);
  for (int i = 0; i < 2000; ++i) {
    if (random.Below(2) == 0 && !taken.empty()) {
      auto range = taken.begin();
      std::advance(range, static_cast<int64_t>(random.Below(taken.size())));
      for (int64_t unit = 0; unit < range->second; ++unit)
        is_taken[static_cast<size_t>(range->first + unit)] = 0;
      pool.Give(range->first);
      taken.erase(range);
      continue;
    }
    const auto units = static_cast<int64_t>(1 + random.Below(30));
    const std::optional<int64_t> begin = pool.Take(units);
    if (!begin) continue;
    ASSERT_LE(*begin + units, kUnits);
    for (int64_t unit = *begin; unit < *begin + units; ++unit) {
      ASSERT_EQ(is_taken[static_cast<size_t>(unit)], 0);
      is_taken[static_cast<size_t>(unit)] = 1;
    }
    taken.emplace(*begin, units);
  }
  for (const auto& [begin, units] : taken) pool.Give(begin);
  EXPECT_EQ(pool.Take(kUnits), 0);
}

TEST(ExtentPool, NothingHasNoRange) { EXPECT_EQ(ExtentPool(0).Take(1), std::nullopt); }

}  // namespace
}  // namespace kvtune
