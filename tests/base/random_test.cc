#include "lib/base/random.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <set>
#include <vector>

namespace kvtune {
namespace {

TEST(Random, NumbersAreTheStandardsMersenneTwister) {
  // The standard fixes the 10000th draw of mt19937_64 seeded with 5489.
  Random random(5489);
  uint64_t last = 0;
  for (int i = 0; i < 10000; ++i) last = random.Below(UINT64_MAX);
  EXPECT_EQ(last, 9981545732273789042u);
}

TEST(Random, SameSeedGivesTheSameNumbers) {
  Random a(3), b(3), c(4);
  std::vector<uint64_t> from_a, from_b, from_c;
  for (int i = 0; i < 20; ++i) {
    from_a.push_back(a.Below(1000));
    from_b.push_back(b.Below(1000));
    from_c.push_back(c.Below(1000));
  }
  EXPECT_EQ(from_a, from_b);
  EXPECT_NE(from_a, from_c);
}

TEST(Random, BelowIsUniform) {
  Random random(1);
  std::array<int, 7> counts = {};
  for (int i = 0; i < 70000; ++i) ++counts[random.Below(7)];
  for (const int count : counts) EXPECT_NEAR(count, 10000, 400);  // 4 standard deviations
  EXPECT_EQ(random.Below(1), 0u);
}

TEST(Random, UnitIsInTheHalfOpenInterval) {
  Random random(1);
  double sum = 0;
  for (int i = 0; i < 10000; ++i) {
    const double value = random.Unit();
    ASSERT_GE(value, 0);
    ASSERT_LT(value, 1);
    sum += value;
  }
  EXPECT_NEAR(sum / 10000, 0.5, 0.02);
}

TEST(Random, ShuffleKeepsTheItems) {
  std::vector<int> items = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9};
  const std::vector<int> before = items;
  Random random(2);
  random.Shuffle(std::span(items));
  EXPECT_NE(items, before);
  std::sort(items.begin(), items.end());
  EXPECT_EQ(items, before);
  std::vector<int> none;
  random.Shuffle(std::span(none));
}

TEST(Random, DerivedSeedsDiffer) {
  std::set<uint64_t> seeds;
  for (uint64_t seed = 0; seed < 20; ++seed) {
    for (uint64_t purpose = 0; purpose < 20; ++purpose)
      seeds.insert(DeriveSeed(seed, static_cast<SeedPurpose>(purpose)));
  }
  EXPECT_EQ(seeds.size(), 400u);
  EXPECT_EQ(DeriveSeed(1, SeedPurpose::kNsga2), DeriveSeed(1, SeedPurpose::kNsga2));
}

}  // namespace
}  // namespace kvtune
