#include "lib/report/accuracy_table.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/test_data.h"

namespace kvtune {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

ScoredPlan Plan(const std::string& name, PrecisionPair pair, double bytes, int64_t lost, double p) {
  ScoredPlan plan{.name = name,
                  .plan = PrecisionPlan::Uniform(pair, 2),
                  .cost = {.nominal_bits = 4, .effective_bits = 4.5, .bytes_per_token = bytes},
                  .calibration = {}};
  const auto right = static_cast<double>(90 - lost) / 100;
  plan.accuracy = AccuracyScore{.task = "sums",
                                .items = 100,
                                .strict = right,
                                .flexible = right,
                                .standard_error = 0.03,
                                .lost = lost,
                                .mcnemar_p = p,
                                .difference = {-0.1, 0.02},
                                .items_to_see_a_point = 3923};
  return plan;
}

const ScoredPlan kExact = Plan("exact", kExactPair, 400, 0, 1);

TEST(AccuracyTable, MarksWhatIsWorse) {
  const std::vector<ScoredPlan> plans = {Plan("KV8", kKV8, 200, 1, 1),
                                         Plan("KV2", kKV2, 50, 80, 1e-9)};
  EXPECT_EQ(AccuracyTable(plans, 0),
            "plan  eff. bits  bytes/token  right %  stderr  lost  gained      p  points (95 %)  "
            "invalid  tokens\n"
            "KV8        4.50          200     89.0     3.0     1       0      1  -10.0 to +2.0  "
            "      0       0\n"
            "KV2        4.50           50     10.0     3.0    80       0  1e-09  -10.0 to +2.0  "
            "      0       0  worse\n");
}

TEST(AccuracyTable, ShowsTheSearchsOwnItemsWherePlansWereChosenByThem) {
  std::vector<ScoredPlan> plans = {Plan("KV8", kKV8, 200, 1, 1), Plan("KV4", kKV4, 100, 2, 0.5)};
  EXPECT_THAT(AccuracyTable(plans, 0), Not(HasSubstr("in search %")));
  plans[0].search_accuracy = AccuracyScore{.task = "sums", .strict = 0.777};
  EXPECT_THAT(AccuracyTable(plans, 0), HasSubstr("in search %"));
  EXPECT_THAT(AccuracyTable(plans, 0), HasSubstr("77.7"));
  EXPECT_EQ(SplitSentence({.search_items = 20, .test_items = 180, .generated_tokens = 4321}),
            "Plans were searched on 20 items of the task, for which 4321 tokens were generated, "
            "and are tested on the other 180.\n");
}

TEST(AccuracyTable, SaysHowManyItemsWouldShowAPointWhereTheseDoNot) {
  std::vector<ScoredPlan> plans = {Plan("KV8", kKV8, 200, 1, 1)};
  EXPECT_THAT(AccuracySentences(plans, kExact), HasSubstr("seen with about 3923 items"));
  plans[0].accuracy->items_to_see_a_point = 100;
  EXPECT_THAT(AccuracySentences(plans, kExact), Not(HasSubstr("could be seen")));
}

TEST(AccuracyTable, ShowsTheLooserRuleWhereItDiffers) {
  std::vector<ScoredPlan> plans = {Plan("KV8", kKV8, 200, 1, 1)};
  EXPECT_THAT(AccuracyTable(plans, 0), Not(HasSubstr("flexible")));
  plans[0].accuracy->flexible = 0.955;
  EXPECT_THAT(AccuracyTable(plans, 0), HasSubstr("flexible %"));
  EXPECT_THAT(AccuracyTable(plans, 0), HasSubstr("95.5"));
}

TEST(AccuracySentences, NameTheSmallestPlanThatIsNotWorse) {
  const std::vector<ScoredPlan> plans = {Plan("KV8", kKV8, 200, 1, 1),
                                         Plan("KV4", kKV4, 100, 2, 0.5),
                                         Plan("KV2", kKV2, 50, 80, 1e-9)};
  EXPECT_EQ(SmallestNotWorse(plans)->name, "KV4");
  const std::string text = AccuracySentences(plans, kExact);
  EXPECT_THAT(text, HasSubstr("The exact model has 90.0 % of 100 items of \"sums\" right"));
  EXPECT_THAT(text,
              HasSubstr("Fewest bytes and not worse: KV4 (100 bytes a token, 2 lost, 0 gained"));
  EXPECT_THAT(text, HasSubstr("within -10.0 to +2.0 points (95 %)"));
  EXPECT_THAT(text, HasSubstr("could be seen with about 3923 items"));
}

TEST(AgreementSentence, ComparesTheOrderOfLossesWithThatOfAnswers) {
  std::vector<ScoredPlan> plans = {Plan("KV8", kKV8, 200, 1, 1), Plan("KV4", kKV4, 100, 2, 0.5),
                                   Plan("KV2", kKV2, 50, 80, 1e-9)};
  EXPECT_EQ(AgreementSentence(std::span(plans).first(2)), "");
  for (size_t i = 0; i < plans.size(); ++i)
    plans[i].calibration.kl_mean = 0.1 * static_cast<double>(i + 1);
  EXPECT_EQ(AgreementSentence(plans),
            "Calibration KL and wrong answers have a rank correlation of 1.00 over 3 plans.\n");
  // The plan that loses most answers has the least loss.
  plans[2].calibration.kl_mean = 0.01;
  EXPECT_EQ(AgreementSentence(plans),
            "Calibration KL and wrong answers have a rank correlation of -0.50 over 3 plans. They "
            "disagree most about KV2 and KV8: KV2 has the lower loss, KV8 has 89.0 % right and not "
            "10.0 %.\n");
  for (ScoredPlan& plan : plans) plan.calibration.kl_mean = 0.1;
  EXPECT_EQ(AgreementSentence(plans), "");
}

// Two plans of three lose as much: ranks 0.5, 0.5 and 2 against 0, 1 and 2 have a correlation of
// 1.5 / sqrt(1.5 * 2).
TEST(AgreementSentence, EqualLossesShareTheirRank) {
  std::vector<ScoredPlan> plans = {Plan("KV8", kKV8, 200, 1, 1), Plan("KV4", kKV4, 100, 2, 0.5),
                                   Plan("KV2", kKV2, 50, 3, 0.5)};
  for (size_t i = 0; i < plans.size(); ++i) plans[i].calibration.kl_mean = i < 2 ? 0.125 : 0.25;
  EXPECT_THAT(AgreementSentence(plans), HasSubstr("a rank correlation of 0.87 over 3 plans"));
}

// Either plan has a standard error of 3 points, so that twice that of their difference is 8.5.
TEST(AgreementSentence, PlansDisagreeBeyondTwiceTheirStandardErrors) {
  const auto said_of = [](int64_t lost) {
    std::vector<ScoredPlan> plans = {Plan("KV8", kKV8, 200, 1, 1),
                                     Plan("KV4", kKV4, 100, 1 + lost, 0.5),
                                     Plan("KV2", kKV2, 50, 80, 1e-9)};
    plans[0].calibration.kl_mean = 0.2;
    plans[1].calibration.kl_mean = 0.1;
    plans[2].calibration.kl_mean = 0.3;
    return AgreementSentence(plans);
  };
  EXPECT_THAT(said_of(8), Not(HasSubstr("disagree")));
  EXPECT_THAT(said_of(9), HasSubstr("They disagree most about KV4 and KV8: KV4 has the lower "
                                    "loss, KV8 has 89.0 % right and not 80.0 %.\n"));
}

TEST(AccuracySentences, SayThatEveryPlanIsWorse) {
  const std::vector<ScoredPlan> plans = {Plan("KV2", kKV2, 50, 80, 1e-9)};
  EXPECT_EQ(SmallestNotWorse(plans), nullptr);
  EXPECT_THAT(AccuracySentences(plans, kExact),
              HasSubstr("Every plan is worse than it (McNemar's exact p < 0.05)."));
}

}  // namespace
}  // namespace kvtune
