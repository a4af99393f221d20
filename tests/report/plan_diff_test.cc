#include "lib/report/plan_diff.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "tests/support/test_data.h"

namespace kvtune {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

ScoredPlan PlanOf(std::string name, std::string_view spec, double bytes,
                  std::vector<double> losses) {
  ScoredPlan plan;
  plan.name = std::move(name);
  plan.plan = ParsePlanSpec(spec, 4, NinePairs());
  plan.cost.bytes_per_token = bytes;
  std::vector<PromptScore> prompts;
  for (const double loss : losses) {
    PromptScore prompt;
    prompt.tokens = 100;
    prompt.kl_sum = loss;
    prompt.token_kl.assign(100, static_cast<float>(loss / 100));
    prompts.push_back(prompt);
  }
  plan.calibration = Summarize(std::move(prompts));
  return plan;
}

TEST(PlanDiff, NeighboursWithTheSameDifferenceAreOneRow) {
  const auto differences = LayerDifferences(ParsePlanSpec("KV8", 4, NinePairs()),
                                            ParsePlanSpec("KV4;2:KV8", 4, NinePairs()));
  ASSERT_EQ(differences.size(), 2u);
  EXPECT_EQ(differences[0].first, 0u);
  EXPECT_EQ(differences[0].last, 1u);
  EXPECT_EQ(differences[1].first, 3u);
}

TEST(PlanDiff, SaysLayersBytesAndPairedLoss) {
  const ScoredPlan a = PlanOf("p00", "KV8", 800, {1, 2, 3, 4, 5, 6, 7, 8});
  const ScoredPlan b = PlanOf("p01", "KV8;0-1:KV4", 600, {2, 4, 6, 8, 10, 12, 14, 16});
  const std::string text = PlanDiffText(a, b, 0, 0);
  EXPECT_THAT(text,
              StartsWith("layers  p00  p01\n"
                         "0-1     KV8  KV4\n"
                         "Bytes per token: p00 takes 800, p01 takes 600, 0.75 times as much.\n"
                         "Calibration KL: p00 loses 0.045, p01 loses 0.09, 2 times as much.\n"));
  // Every prompt has the same ratio, so its interval is a point.
  EXPECT_THAT(text, HasSubstr("Prompt by prompt, p01 loses more on 8 of 8; the ratio of the losses "
                              "lies in [2, 2] (95 %): p01 is worse."));
  EXPECT_THAT(PlanDiffText(b, a, 0, 0), HasSubstr("p00 loses more on 0 of 8"));
  EXPECT_THAT(PlanDiffText(b, a, 0, 0), HasSubstr("p00 is as good as p01."));
  const Json json = PlanDiffToJson(a, b, 0);
  EXPECT_EQ(json["layers"].size(), 1u);
  EXPECT_EQ(json["bytes_ratio"], 0.75);
  EXPECT_EQ(json["comparison"]["standing"], "worse");
}

TEST(PlanDiff, ThePlanItself) {
  const ScoredPlan a = PlanOf("p00", "KV8", 800, {1, 2});
  EXPECT_THAT(PlanDiffText(a, a, 0, 0), StartsWith("The plans are the same in every layer."));
}

TEST(PlanDiff, NoFactorIsNamedOverALossOfNothing) {
  const ScoredPlan a = PlanOf("p00", "KV8", 800, {0, 0}), b = PlanOf("p01", "KV4", 600, {1, 2});
  EXPECT_THAT(PlanDiffText(a, b, 0, 0), HasSubstr("p00 loses 0, p01 loses 0.015.\n"));
}

TEST(PlanDiff, NoFactorIsNamedOverALossThatRoundingMakes) {
  const ScoredPlan a = PlanOf("p00", "KV8", 800, {25, 25}), b = PlanOf("p01", "KV4", 600, {50, 50});
  EXPECT_THAT(PlanDiffText(a, b, 0.25, 0), HasSubstr("p00 loses 0.25, p01 loses 0.5.\n"));
  EXPECT_THAT(PlanDiffText(a, b, 0.24, 0), HasSubstr("p01 loses 0.5, 2 times as much.\n"));
}

TEST(PlanDiff, SaysTheTimesWhereBothAreKnown) {
  ScoredPlan a = PlanOf("p00", "KV8", 800, {1, 2}), b = PlanOf("p01", "KV4", 400, {2, 4});
  a.cost.latency_ms = 2;
  EXPECT_THAT(PlanDiffText(a, b, 0, 0), Not(HasSubstr("decode step")));
  b.cost.latency_ms = 1.5;
  EXPECT_THAT(PlanDiffText(a, b, 0, 0),
              HasSubstr("Attention of a decode step: p00 takes 2.000 ms, p01 takes 1.500 ms, "
                        "0.75 times as long.\n"));
  a.cost.latency_ms = 0;
  EXPECT_THAT(PlanDiffText(a, b, 0, 0), HasSubstr("p00 takes 0.0000 ms, p01 takes 1.500 ms.\n"));
}

}  // namespace
}  // namespace kvtune
