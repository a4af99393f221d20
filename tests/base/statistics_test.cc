#include "lib/base/statistics.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "lib/base/random.h"

namespace kvtune {
namespace {

TEST(Statistics, MeanIsTheSumByTheCount) {
  EXPECT_EQ(Mean({}), 0);
  EXPECT_DOUBLE_EQ(Mean(std::vector{1.0, 2.0, 6.0}), 3);
}

TEST(Statistics, QuantilesInterpolateAsNumpyDoes) {
  // numpy.quantile([4, 1, 3, 2], [0, .25, .5, .9, 1])
  const auto quantile = [](double q) {
    std::vector<double> values = {4, 1, 3, 2};
    return Quantile(values, q);
  };
  EXPECT_DOUBLE_EQ(quantile(0), 1);
  EXPECT_DOUBLE_EQ(quantile(.25), 1.75);
  EXPECT_DOUBLE_EQ(quantile(.5), 2.5);
  EXPECT_DOUBLE_EQ(quantile(.9), 3.7);
  EXPECT_DOUBLE_EQ(quantile(1), 4);
  std::vector<double> one = {7};
  EXPECT_DOUBLE_EQ(Quantile(one, .3), 7);
}

TEST(Statistics, QuantileMatchesSorting) {
  Random random(1);
  std::vector<double> values(101);
  for (double& value : values) value = random.Unit();
  std::vector<double> sorted = values;
  std::sort(sorted.begin(), sorted.end());
  for (const size_t i : {size_t{0}, size_t{1}, size_t{50}, size_t{99}, size_t{100}}) {
    EXPECT_DOUBLE_EQ(Quantile(values, static_cast<double>(i) / 100), sorted[i]);
  }
}

TEST(Statistics, BootstrapOfEqualRatiosHasNoWidth) {
  const std::vector<double> numerators = {1, 2, 3}, denominators = {10, 20, 30};
  const Interval interval = BootstrapRatioInterval(numerators, denominators, {});
  EXPECT_NEAR(interval.low, 0.1, 1e-15);
  EXPECT_NEAR(interval.high, 0.1, 1e-15);
}

TEST(Statistics, BootstrapHoldsTheRatioAndRepeatsWithItsSeed) {
  Random random(1);
  std::vector<double> numerators, denominators;
  double numerator = 0, denominator = 0;
  for (int i = 0; i < 40; ++i) {
    denominators.push_back(100 + static_cast<double>(random.Below(100)));
    numerators.push_back(denominators.back() * random.Unit());
    numerator += numerators.back();
    denominator += denominators.back();
  }
  BootstrapOptions options;
  options.seed = 5;
  const Interval interval = BootstrapRatioInterval(numerators, denominators, options);
  EXPECT_LT(interval.low, numerator / denominator);
  EXPECT_GT(interval.high, numerator / denominator);
  EXPECT_EQ(BootstrapRatioInterval(numerators, denominators, options), interval);
  options.confidence = 0.5;
  const Interval narrower = BootstrapRatioInterval(numerators, denominators, options);
  EXPECT_GT(narrower.low, interval.low);
  EXPECT_LT(narrower.high, interval.high);
}

}  // namespace
}  // namespace kvtune
