#include "lib/report/sensitivity_chart.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

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

TEST(SensitivityChart, NothingIsWiderThanTheTerminal) {
  const SensitivityTable table = TableOf({kKV8}, {{0.1}, {0}});
  const std::string chart = SensitivityChart(table, {}, 60, true);
  EXPECT_THAT(chart, HasSubstr("█"));
  EXPECT_THAT(chart, Not(HasSubstr("fragile")));
}

}  // namespace
}  // namespace kvtune
