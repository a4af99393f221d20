#include "lib/report/sensitivity_chart.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "tests/support/test_data.h"

namespace kvtune {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

TEST(SensitivityChart, BarsAreTheErrorsOfTheSafeKeys) {
  const SensitivityTable table =
      TableOf({kKV8, kK8V4, kK4V8, kKV4}, {{0, 0.1, 0.5, 0.6}, {0, 0.1, 0.25, 0.3}});
  Diagnosis diagnosis;
  diagnosis.safe_key = KvFormatId::kInt4;
  diagnosis.fragile = {{.index = 0,
                        .needed_key = KvFormatId::kInt8,
                        .measured = {},
                        .causes = {FragilityCause::kKeyOutliers, FragilityCause::kKeyBias}}};
  EXPECT_EQ(SensitivityChart(table, diagnosis, 0, false),
            "Error of the attention output under K4V8, of the worst KV head:\n"
            "layer                                   error\n"
            "    0  ##############################  0.5000  fragile, needs int8 keys: key outlier "
            "channels, key bias\n"
            "    1  ###############                 0.2500\n");
}

TEST(SensitivityChart, TheWorstHeadCounts) {
  SensitivityTable table = TableOf({kKV8}, {{0.1}, {0.1}});
  table.layers[1].errors[0].head_e_o = {0.05, 0.4};
  EXPECT_THAT(SensitivityChart(table, {}, 0, false), HasSubstr("0.4000"));
}

TEST(SensitivityChart, BarsTakeAThirdOfTheTerminalWithinBounds) {
  const SensitivityTable table = TableOf({kKV8, kKV4}, {{0, 0.5}, {0, 0}});
  const auto bar = [&](size_t width) {
    return std::ranges::count(SensitivityChart(table, {}, width, false), '#');
  };
  EXPECT_EQ(bar(0), 30);
  EXPECT_EQ(bar(27), 10);
  EXPECT_EQ(bar(45), 15);
  EXPECT_EQ(bar(120), 30);
  // Without a diagnosis the last pair is shown, and where nothing is lost there are no bars.
  EXPECT_THAT(SensitivityChart(table, {}, 0, false), HasSubstr("output under KV4,"));
  const SensitivityTable nothing = TableOf({kKV8}, {{0}, {0}});
  EXPECT_THAT(SensitivityChart(nothing, {}, 0, false), Not(HasSubstr("#")));
}

// Of two pairs with as many bits of values, the first.
TEST(SensitivityChart, TheSafeKeysAreShownWithTheFinestValues) {
  Diagnosis diagnosis;
  diagnosis.safe_key = KvFormatId::kInt4;
  const SensitivityTable table =
      TableOf({kK4V2, {KvFormatId::kInt4, KvFormatId::kFp8E4m3}, kK4V8, kKV4}, {{4, 1, 2, 3}});
  EXPECT_THAT(SensitivityChart(table, diagnosis, 0, false), HasSubstr("1.0000"));
}

TEST(SensitivityChart, NothingIsWiderThanTheTerminal) {
  const SensitivityTable table = TableOf({kKV8}, {{0.1}, {0}});
  const std::string chart = SensitivityChart(table, {}, 60, true);
  EXPECT_THAT(chart, HasSubstr("█"));
  EXPECT_THAT(chart, Not(HasSubstr("fragile")));
}

}  // namespace
}  // namespace kvtune
