#include "lib/base/ratio_interval.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

#include "lib/base/random.h"

namespace kvtune {
namespace {

// Eight draws that lose 1, 1, 1, 1, 1, 1, 1 and 2 on one token each. The mean is 9/8. A residual is
// 8/9 - 1 = -1/9 seven times and 16/9 - 1 = 7/9 once, so the squares add up to 56/81 and the
// standard error is sqrt(56/81 / (8 * 7)) = 1/9. Student's t with 7 degrees of freedom is 2.3646.
// The last draw's share exceeds its part by 2/9 - 1/8 = 7/72: three of three times that are 7/8,
// and the sum of the tokens grows from 1 to 1 + 3/8. Of the inverse ratio it is 1/8 - 1/9 = 1/72:
// 1/8, and the sum of the losses grows to 1 + 3/9.
const std::vector<double> kSmall = {1, 1, 1, 1, 1, 1, 1, 2};
constexpr double kStudent = 2.364624;

TEST(RatioInterval, SmallestExampleByHand) {
  const auto interval = RatioInterval(kSmall, std::vector<double>(8, 1));
  ASSERT_TRUE(interval);
  EXPECT_NEAR(interval->high, 9.0 / 8 * (std::exp(kStudent / 9) + 7.0 / 8 / (11.0 / 8)), 1e-5);
  EXPECT_NEAR(interval->low, 9.0 / 8 / (std::exp(kStudent / 9) + 1.0 / 8 / (4.0 / 3)), 1e-5);
}

// The same in nats per token: the standard error is 1/8. Three draws that differ by 6 make
// (9 + 18) / (8 + 3), and none of the eight lies below 0.
TEST(DifferenceInterval, SmallestExampleByHand) {
  const std::vector<double> tokens(8, 1);
  const Interval interval = DifferenceInterval(kSmall, tokens, 0.95);
  EXPECT_NEAR(interval.high, 27.0 / 11 + kStudent / 8, 1e-5);
  EXPECT_NEAR(interval.low, 9.0 / 8 - kStudent / 8, 1e-5);
  std::vector<double> turned = kSmall;
  for (double& difference : turned) difference = -difference;
  const Interval mirrored = DifferenceInterval(turned, tokens, 0.95);
  EXPECT_NEAR(mirrored.low, -interval.high, 1e-12);
  EXPECT_NEAR(mirrored.high, -interval.low, 1e-12);
}

// Three draws more like the one without a difference make 7 / (8 + 3), three like one that differs
// by -1 make (6 - 9) / (8 + 3). The standard errors are 1/8 and 1/4.
TEST(DifferenceInterval, ReachesBeyondZeroByWhatWasSeenThere) {
  const std::vector<double> tokens(8, 1);
  EXPECT_NEAR(DifferenceInterval(std::vector<double>{0, 1, 1, 1, 1, 1, 1, 1}, tokens, 0.95).low,
              7.0 / 11 - kStudent / 8, 1e-5);
  EXPECT_NEAR(DifferenceInterval(std::vector<double>{-1, 1, 1, 1, 1, 1, 1, 1}, tokens, 0.95).low,
              -3.0 / 11 - kStudent / 4, 1e-5);
}

TEST(RatioInterval, EqualRatiosHaveNoWidth) {
  std::vector<double> numerators, denominators;
  for (int i = 1; i <= 9; ++i) {
    numerators.push_back(0.1 * i);
    denominators.push_back(i);
  }
  const auto interval = RatioInterval(numerators, denominators);
  ASSERT_TRUE(interval);
  EXPECT_NEAR(interval->low, 0.1, 1e-15);
  EXPECT_NEAR(interval->high, 0.1, 1e-15);
}

TEST(RatioInterval, NothingLostIsKnownExactly) {
  const std::vector<double> zeros(3, 0), tokens(3, 100);
  EXPECT_EQ(RatioInterval(zeros, tokens), (Interval{0, 0}));
  EXPECT_EQ(DrawsForInterval(zeros, tokens), 0);
}

TEST(RatioInterval, IsNotClaimedOfFewDraws) {
  const std::vector<double> losses = {1, 2, 1, 2, 1, 2, 1}, tokens(7, 1);
  EXPECT_FALSE(RatioInterval(losses, tokens));
  EXPECT_EQ(DrawsForInterval(losses, tokens), kFewestDraws);
  EXPECT_EQ(DrawsForInterval(std::vector{1.0}, std::vector{1.0}), kFewestDraws);
}

TEST(RatioInterval, IsNotClaimedWhereOneDrawCarriesTheSum) {
  std::vector<double> losses(10, 1e-6);
  const std::vector<double> tokens(10, 1);
  losses[4] = 1;
  EXPECT_FALSE(RatioInterval(losses, tokens));
  const int64_t needed = DrawsForInterval(losses, tokens);
  EXPECT_GT(needed, 10);
  // That many draws of the same kinds do allow one.
  std::vector<double> more;
  while (static_cast<int64_t>(more.size()) < needed + 10)
    more.insert(more.end(), losses.begin(), losses.end());
  const std::vector<double> more_tokens(more.size(), 1);
  EXPECT_TRUE(RatioInterval(more, more_tokens));
}

TEST(RatioInterval, TheInverseRatioHasTheInverseInterval) {
  Random random(3);
  std::vector<double> a, b;
  for (int i = 0; i < 20; ++i) {
    a.push_back(std::exp(4 * random.Unit()));
    b.push_back(std::exp(4 * random.Unit()));
  }
  const auto forward = RatioInterval(a, b), inverse = RatioInterval(b, a);
  ASSERT_TRUE(forward && inverse);
  EXPECT_NEAR(forward->low * inverse->high, 1, 1e-12);
  EXPECT_NEAR(forward->high * inverse->low, 1, 1e-12);
}

TEST(RatioInterval, DoesNotDependOnUnitsOrOrder) {
  const std::vector<double> losses = {3, 1, 4, 1, 5, 9, 2, 6}, tokens = {2, 7, 1, 8, 2, 8, 1, 8};
  std::vector<double> scaled = losses, reversed = losses, reversed_tokens = tokens;
  for (double& loss : scaled) loss *= 1e-9;
  std::ranges::reverse(reversed);
  std::ranges::reverse(reversed_tokens);
  const auto interval = RatioInterval(losses, tokens);
  const auto small = RatioInterval(scaled, tokens);
  const auto backward = RatioInterval(reversed, reversed_tokens);
  ASSERT_TRUE(interval && small && backward);
  EXPECT_NEAR(small->low * 1e9, interval->low, 1e-9);
  EXPECT_NEAR(backward->high, interval->high, 1e-12);
}

// Log-normal draws whose mean is known: ten times the spread of a normal one.
TEST(RatioInterval, HoldsTheMeanOfSkewedDraws) {
  Random random(7);
  const auto normal = [&] {
    double sum = 0;
    for (int i = 0; i < 12; ++i) sum += random.Unit();
    return sum - 6;
  };
  constexpr int kRuns = 1000;
  int held = 0, claimed = 0;
  for (int run = 0; run < kRuns; ++run) {
    std::vector<double> losses;
    for (int i = 0; i < 16; ++i) losses.push_back(std::exp(normal()));
    const auto interval = RatioInterval(losses, std::vector<double>(16, 1));
    if (!interval) continue;
    ++claimed;
    held += interval->low <= std::exp(0.5) && std::exp(0.5) <= interval->high;
  }
  EXPECT_GE(claimed, kRuns * 98 / 100);
  EXPECT_GE(held, claimed * 94 / 100);
}

// How often the intervals of `draws` of 240 draws hold what all of them have, where one of the 240
// is 35 times the mean. Most sets are without it.
struct Coverage {
  double of_ratio = 0, of_difference = 0;
};
Coverage CoverageWithARareKind(size_t draws) {
  Random random(11);
  std::vector<double> population;
  for (int i = 0; i < 239; ++i) population.push_back(std::exp(random.Unit()));
  double sum = 0;
  for (const double loss : population) sum += loss;
  population.push_back(sum * 35 / 205);  // so that it is 35/240 of all
  const double truth = (sum + population.back()) / 240;
  constexpr int kRuns = 4000;
  int claimed = 0, ratios = 0, differences = 0;
  const auto holds = [&](const Interval& interval) {
    return interval.low <= truth && truth <= interval.high;
  };
  for (int run = 0; run < kRuns; ++run) {
    std::vector<double> losses;
    for (size_t i = 0; i < draws; ++i) {
      std::swap(population[i], population[i + random.Below(population.size() - i)]);
      losses.push_back(population[i]);
    }
    const std::vector<double> tokens(draws, 1);
    differences += holds(DifferenceInterval(losses, tokens, 0.95));
    if (const auto interval = RatioInterval(losses, tokens)) {
      ++claimed;
      ratios += holds(*interval);
    }
  }
  EXPECT_GE(claimed, kRuns * 95 / 100);
  return {static_cast<double>(ratios) / claimed, static_cast<double>(differences) / kRuns};
}

TEST(RatioInterval, HoldsTheMeanWhereMostSetsLackARareKind) {
  for (const auto& [draws, least] : {std::pair<size_t, double>{8, 0.90}, {16, 0.94}, {32, 0.94}}) {
    const Coverage coverage = CoverageWithARareKind(draws);
    EXPECT_GE(coverage.of_ratio, least) << draws;
    EXPECT_GE(coverage.of_difference, least) << draws;
  }
}

TEST(FewestDraws, IsTheFirstThatIsEnough) {
  const LogRatio ratio(std::vector{1.0, 2.0, 3.0}, std::vector{1.0, 1.0, 1.0});
  EXPECT_EQ(FewestDraws(ratio, [](int64_t n) { return n >= 777; }), 777);
  EXPECT_EQ(FewestDraws(ratio, [](int64_t) { return true; }), 4);
  EXPECT_EQ(FewestDraws(ratio, [](int64_t) { return false; }), std::nullopt);
}

}  // namespace
}  // namespace kvtune
