#include "lib/report/models_table.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace kvtune {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

PlanScore ScoreOf(double loss) {
  PlanScore score;
  score.tokens = 10;
  score.kl_mean = loss;
  return score;
}

ScoredPlan PlanOfLoss(double loss) {
  const PrecisionPair four{KvFormatId::kInt4, KvFormatId::kInt4};
  ScoredPlan plan{.name = "p03",
                  .plan = PrecisionPlan::Uniform(four, 2),
                  .cost = {.nominal_bits = 4, .effective_bits = 4.5, .bytes_per_token = 288},
                  .calibration = ScoreOf(loss)};
  return plan;
}

TEST(ModelsTable, ShowsWhatEachSearchCameTo) {
  ScoredPlan held_out = PlanOfLoss(0.5);
  held_out.held_out = HeldOutScore{.score = ScoreOf(0.25), .loss_interval = std::nullopt};
  const std::string table = ModelsTable(
      {{.name = "first", .recommended = held_out, .exact_bytes_per_token = 1024, .problem = ""},
       {.name = "second",
        .recommended = PlanOfLoss(0.5),
        .exact_bytes_per_token = 1024,
        .problem = ""},
       {.name = "third\n", .recommended = std::nullopt, .problem = "failed, exit code 1"},
       {.name = "fourth", .recommended = std::nullopt, .problem = ""}},
      0);
  EXPECT_THAT(table, HasSubstr("model"));
  EXPECT_THAT(table, HasSubstr("first"));
  EXPECT_THAT(table, HasSubstr("288"));
  EXPECT_THAT(table, HasSubstr("28 %"));
  EXPECT_THAT(table, HasSubstr("0.25"));
  EXPECT_THAT(table, HasSubstr("0.5 (calibration)"));
  EXPECT_THAT(table, HasSubstr("failed, exit code 1"));
  EXPECT_THAT(table, HasSubstr("no plan to recommend"));
  EXPECT_THAT(table, Not(HasSubstr("third\n")));
}

// However narrow the terminal is, no loss is torn from the word about its prompts.
TEST(ModelsTable, ALossStaysInOneLine) {
  const std::vector<ModelRow> rows = {{.name = "first",
                                       .recommended = PlanOfLoss(0.5),
                                       .exact_bytes_per_token = 1024,
                                       .problem = ""}};
  for (size_t width = 20; width <= 120; ++width)
    EXPECT_THAT(ModelsTable(rows, width), HasSubstr("0.5 (calibration)")) << width;
}

}  // namespace
}  // namespace kvtune
