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

}  // namespace
}  // namespace kvtune
