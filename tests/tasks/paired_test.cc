#include "lib/tasks/paired.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

namespace kvtune {
namespace {

TEST(StandardError, IsTheSamplesDeviationOverTheRoot) {
  // Two of four are right: the deviation is sqrt(4 * 0.25 / 3), the error half of it.
  EXPECT_DOUBLE_EQ(StandardError(std::vector<double>{1, 0, 1, 0}), std::sqrt(1.0 / 3) / 2);
  EXPECT_EQ(StandardError(std::vector<double>{1, 1, 1}), 0);
  EXPECT_EQ(StandardError(std::vector<double>{1}), 0);
  EXPECT_EQ(StandardError(std::vector<double>{}), 0);
  EXPECT_EQ(StandardError(std::vector<double>{0, 1}), 0.5);
}

TEST(Flips, CountEachDirection) {
  const std::vector<char> exact = {1, 1, 0, 1, 0}, plan = {0, 1, 0, 0, 1};
  const Flips flips = CountFlips(exact, plan);
  EXPECT_EQ(flips.items, 5);
  EXPECT_EQ(flips.lost, 2);
  EXPECT_EQ(flips.gained, 1);
}

// Sums of binomial coefficients, by Python's math.comb.
TEST(McNemar, IsTheExactBinomialTest) {
  EXPECT_EQ(McNemarP(0, 0), 1);
  EXPECT_EQ(McNemarP(0, 1), 1);
  EXPECT_EQ(McNemarP(3, 3), 1);
  EXPECT_NEAR(McNemarP(0, 5), 0.0625, 1e-12);
  EXPECT_NEAR(McNemarP(6, 0), 0.03125, 1e-12);
  EXPECT_NEAR(McNemarP(1, 8), 0.0390625, 1e-12);
  EXPECT_NEAR(McNemarP(40, 20), 0.01348929373119186, 1e-12);
  EXPECT_NEAR(McNemarP(1000, 1100), 0.030720707864242296, 1e-10);
}

TEST(DifferenceInterval, HoldsTheDifferenceAndShrinksWithItems) {
  const Interval few = DifferenceInterval({.items = 100, .lost = 8, .gained = 2});
  EXPECT_LT(few.low, -0.06);
  EXPECT_GT(few.high, -0.06);
  const Interval many = DifferenceInterval({.items = 10000, .lost = 800, .gained = 200});
  EXPECT_NEAR(many.high - many.low, (few.high - few.low) / 10, 0.003);
  // Without a flip there is still some doubt: half a count in each direction of 102.
  const Interval none = DifferenceInterval({.items = 100});
  EXPECT_NEAR(none.high, 1.959963984540054 * std::sqrt(1.0 / 102 / 102), 1e-12);
  EXPECT_EQ(none.low, -none.high);
}

TEST(ScoreDifferenceInterval, IsTheCautiousOneOfVerdicts) {
  const std::vector<double> exact = {1, 1, 1, 1, 0, 0}, plan = {0, 0, 0, 0, 0, 0};
  const Flips flips = CountFlips(exact, plan);
  EXPECT_EQ(flips.lost, 4);
  EXPECT_EQ(flips.gained, 0);
  EXPECT_EQ(ScoreDifferenceInterval(exact, plan), CautiousDifferenceInterval(flips, 0.95));
  EXPECT_GE(ScoreDifferenceInterval(exact, plan).high, 0);  // p = 0.125
  EXPECT_EQ(ScoreDifferenceInterval(exact, exact), DifferenceInterval({.items = 6}));
}

// Differences of -1/2, -1/4, 0 and -1/4: their mean is -1/4 and their standard error
// sqrt((1/16 + 1/16) / 3 / 4); Student's t of three degrees is 3.1824.
TEST(ScoreDifferenceInterval, OfSharesIsThatOfTheirMean) {
  const std::vector<double> exact = {0.5, 0.5, 0.25, 1}, plan = {0, 0.25, 0.25, 0.75};
  const Flips flips = CountFlips(exact, plan);
  EXPECT_EQ(flips.lost, 3);
  EXPECT_EQ(flips.gained, 0);
  const double reach = 3.182446305 * std::sqrt(0.125 / 12);
  const Interval interval = ScoreDifferenceInterval(exact, plan);
  EXPECT_NEAR(interval.low, -0.25 - reach, 1e-8);
  EXPECT_NEAR(interval.high, -0.25 + reach, 1e-8);
  const std::vector<double> one = {0.5};
  EXPECT_EQ(ScoreDifferenceInterval(one, one), (Interval{-1, 1}));
}

// scipy.stats.binomtest(2, 10).proportion_ci(0.95) is [0.0252107, 0.5560955].
TEST(CautiousDifferenceInterval, HoldsTheExactIntervalOfTheFlips) {
  const Flips flips{.items = 100, .lost = 8, .gained = 2};
  const Interval cautious = CautiousDifferenceInterval(flips, 0.95);
  EXPECT_NEAR(cautious.high, 0.1 * (2 * 0.5560954623 - 1), 1e-9);
  EXPECT_EQ(cautious.low, DifferenceInterval(flips).low);
  const Interval turned = CautiousDifferenceInterval({.items = 100, .lost = 2, .gained = 8}, 0.95);
  EXPECT_NEAR(turned.low, -cautious.high, 1e-12);
  EXPECT_EQ(CautiousDifferenceInterval({.items = 100}, 0.99), (Interval{0, 0}));
  EXPECT_LT(CautiousDifferenceInterval(flips, 0.99).low, cautious.low);
}

TEST(CautiousDifferenceInterval, LeavesOutZeroOnlyWhereTheExactTestRejects) {
  int approximate_alone = 0;
  for (const double confidence : {0.9, 0.95, 0.99}) {
    for (int64_t lost = 0; lost <= 25; ++lost) {
      for (int64_t gained = 0; gained <= 25; ++gained) {
        const Flips flips{.items = 100, .lost = lost, .gained = gained};
        const bool is_certain = McNemarP(lost, gained) < 1 - confidence;
        const Interval cautious = CautiousDifferenceInterval(flips, confidence);
        const Interval approximate = DifferenceInterval(flips, confidence);
        const auto leaves_out_zero = [](Interval interval) {
          return interval.low > 0 || interval.high < 0;
        };
        EXPECT_FALSE(leaves_out_zero(cautious) && !is_certain) << lost << " " << gained;
        approximate_alone += leaves_out_zero(approximate) && !is_certain;
      }
    }
  }
  EXPECT_GT(approximate_alone, 0);
}

TEST(FewestItems, AreThoseThatCanAllBeLostBeyondChance) {
  EXPECT_EQ(FewestItems(0.95), 6);
  EXPECT_EQ(FewestItems(0.99), 8);
  EXPECT_LT(McNemarP(8, 0), 0.01);
  EXPECT_GT(McNemarP(7, 0), 0.01);
}

// The rule of Connor (1987): (1.96 sqrt(d) + 0.8416 sqrt(d - x^2))^2 / x^2.
TEST(ItemsToSee, GrowWithDisagreementAndFallWithTheDifference) {
  EXPECT_EQ(ItemsToSee(0.01, 0.05), 3923);
  EXPECT_EQ(ItemsToSee(0.1, 0.2), 155);
  // A difference of one point without more disagreement than that.
  EXPECT_EQ(ItemsToSee(0.01, 0.0), ItemsToSee(0.01, 0.01));
  EXPECT_EQ(ItemsToSee(0.01, 0.01), 783);
}

TEST(ItemsToDecide, AreNamedOnlyWhereSomethingIsOpen) {
  EXPECT_FALSE(ItemsToDecide({.items = 100, .lost = 0, .gained = 0}));
  EXPECT_FALSE(ItemsToDecide({.items = 100, .lost = 20, .gained = 2}));
  const auto items = ItemsToDecide({.items = 100, .lost = 6, .gained = 3});
  ASSERT_TRUE(items);
  EXPECT_EQ(*items, ItemsToSee(0.03, 0.09));
  EXPECT_GT(*items, 100);
  // As many items for a gain as for a loss, and none where as many are lost as gained.
  EXPECT_EQ(ItemsToDecide({.items = 100, .lost = 3, .gained = 6}), items);
  EXPECT_FALSE(ItemsToDecide({.items = 100, .lost = 6, .gained = 6}));
}

}  // namespace
}  // namespace kvtune
