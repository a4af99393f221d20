#include "lib/core/plan_comparison.h"

#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>
#include <vector>

namespace kvtune {
namespace {

// A score of prompts of 100 tokens each.
PlanScore ScoreOf(const std::vector<double>& losses) {
  PlanScore score;
  for (const double loss : losses) {
    PromptScore prompt;
    prompt.tokens = 100;
    prompt.kl_sum = loss;
    score.per_prompt.push_back(prompt);
    score.tokens += prompt.tokens;
    score.kl_mean += loss;
  }
  score.prompts = static_cast<int64_t>(losses.size());
  score.kl_mean /= static_cast<double>(score.tokens);
  return score;
}

const std::vector<double> kLosses = {1, 2, 3, 5, 8, 13, 21, 34, 3, 5};

std::vector<double> Times(std::vector<double> losses, double factor) {
  for (double& loss : losses) loss *= factor;
  return losses;
}

// Prompts differ by a factor of 34, so two intervals of the means would overlap widely.
TEST(PlanComparison, AConstantFactorIsSeenAtOnce) {
  const PlanScore reference = ScoreOf(kLosses);
  const PlanComparison worse = ComparePlans(ScoreOf(Times(kLosses, 1.2)), reference);
  EXPECT_EQ(worse.standing, Standing::kWorse);
  EXPECT_NEAR(worse.ratio, 1.2, 1e-12);
  EXPECT_EQ(worse.worse_prompts, 10);
  EXPECT_EQ(worse.prompts, 10);
  EXPECT_EQ(worse.prompts_to_decide, std::nullopt);
  // Worse, but within the margin.
  EXPECT_EQ(ComparePlans(ScoreOf(Times(kLosses, 1.05)), reference).standing, Standing::kAsGood);
  EXPECT_EQ(ComparePlans(ScoreOf(Times(kLosses, 1.05)), reference, {.margin = 0.04}).standing,
            Standing::kWorse);
  EXPECT_EQ(ComparePlans(ScoreOf(Times(kLosses, 0.5)), reference).standing, Standing::kAsGood);
}

TEST(PlanComparison, APlanIsAsGoodAsItself) {
  const PlanScore score = ScoreOf(kLosses);
  const PlanComparison same = ComparePlans(score, score, {.margin = 0});
  EXPECT_EQ(same.standing, Standing::kAsGood);
  EXPECT_EQ(same.ratio, 1);
  EXPECT_EQ(same.interval, (Interval{1, 1}));
  EXPECT_EQ(same.worse_prompts, 0);
  // Also on a single prompt, whatever an interval needs.
  EXPECT_EQ(ComparePlans(ScoreOf({4}), ScoreOf({4})).standing, Standing::kAsGood);
}

TEST(PlanComparison, WhatPromptsDisagreeAboutIsATie) {
  std::vector<double> losses = kLosses;
  for (size_t i = 0; i < losses.size(); ++i) losses[i] *= i % 2 == 0 ? 1.3 : 0.8;
  const PlanComparison tie = ComparePlans(ScoreOf(losses), ScoreOf(kLosses));
  EXPECT_EQ(tie.standing, Standing::kTie);
  ASSERT_TRUE(tie.interval);
  EXPECT_LT(tie.interval->low, 1);
  EXPECT_GT(tie.interval->high, 1.1);
  EXPECT_EQ(tie.worse_prompts, 5);
  ASSERT_TRUE(tie.prompts_to_decide);
  EXPECT_GT(*tie.prompts_to_decide, 10);
}

// The number that is promised is about the number that it takes.
TEST(PlanComparison, SoManyPromptsDoDecide) {
  std::vector<double> losses = kLosses, more, more_reference;
  for (size_t i = 0; i < losses.size(); ++i) losses[i] *= i % 2 == 0 ? 1.3 : 0.8;
  const PlanComparison tie = ComparePlans(ScoreOf(losses), ScoreOf(kLosses));
  ASSERT_TRUE(tie.prompts_to_decide);
  while (static_cast<int64_t>(more.size()) < *tie.prompts_to_decide + 10) {
    more.insert(more.end(), losses.begin(), losses.end());
    more_reference.insert(more_reference.end(), kLosses.begin(), kLosses.end());
  }
  const PlanComparison decided = ComparePlans(ScoreOf(more), ScoreOf(more_reference));
  EXPECT_NE(decided.standing, Standing::kTie);
  EXPECT_NE(decided.standing, Standing::kUndecided);
}

TEST(PlanComparison, FewPromptsDecideNothing) {
  const PlanComparison few = ComparePlans(ScoreOf({1, 2, 3}), ScoreOf({1, 3, 2}));
  EXPECT_EQ(few.standing, Standing::kUndecided);
  EXPECT_FALSE(few.interval);
  ASSERT_TRUE(few.prompts_to_decide);
  EXPECT_GE(*few.prompts_to_decide, kFewestDraws);
  // Two prompts tell how much they differ; one does not.
  EXPECT_TRUE(ComparePlans(ScoreOf({1, 2}), ScoreOf({1, 3})).prompts_to_decide);
  const PlanComparison single = ComparePlans(ScoreOf({3}), ScoreOf({2}));
  EXPECT_EQ(single.standing, Standing::kUndecided);
  EXPECT_EQ(single.ratio, 1.5);
  EXPECT_FALSE(single.interval);
  EXPECT_FALSE(single.prompts_to_decide);
}

TEST(PlanComparison, LosingNothingHasNoLogarithm) {
  const PlanScore nothing = ScoreOf(std::vector<double>(10, 0));
  const PlanComparison equal = ComparePlans(nothing, nothing);
  EXPECT_EQ(equal.standing, Standing::kAsGood);
  EXPECT_EQ(equal.ratio, 1);
  EXPECT_EQ(equal.interval, (Interval{1, 1}));
  const PlanComparison better = ComparePlans(nothing, ScoreOf(kLosses));
  EXPECT_EQ(better.standing, Standing::kAsGood);
  EXPECT_EQ(better.ratio, 0);
  EXPECT_EQ(better.interval, (Interval{0, 0}));
  const PlanComparison worse = ComparePlans(ScoreOf(kLosses), nothing);
  EXPECT_EQ(worse.standing, Standing::kWorse);
  EXPECT_TRUE(ToJson(worse)["ratio"].is_null());
}

TEST(PlanComparison, ADifferenceThatRoundingMakesIsATie) {
  const PlanScore reference = ScoreOf(kLosses), plan = ScoreOf(Times(kLosses, 1.2));
  const double difference = plan.kl_mean - reference.kl_mean;
  EXPECT_EQ(ComparePlans(plan, reference, {.noise_floor = 1.01 * difference}).standing,
            Standing::kTie);
  EXPECT_EQ(ComparePlans(plan, reference, {.noise_floor = 0.99 * difference}).standing,
            Standing::kWorse);
  // 1,600 nats over 800 tokens become 2,400: the difference is the floor itself, in numbers that
  // have no rounding.
  const std::vector<double> even = {100, 200, 100, 300, 200, 300, 200, 200};
  EXPECT_EQ(ComparePlans(ScoreOf(Times(even, 1.5)), ScoreOf(even), {.noise_floor = 1.0}).standing,
            Standing::kWorse);
}

TEST(PlanComparison, NeedsTheSamePrompts) {
  PlanScore other = ScoreOf(kLosses);
  EXPECT_TRUE(CanCompare(other, ScoreOf(kLosses)));
  other.per_prompt[3].tokens = 99;
  EXPECT_FALSE(CanCompare(other, ScoreOf(kLosses)));
  other.per_prompt.clear();
  EXPECT_FALSE(CanCompare(other, other));
}

TEST(PlanComparison, HeldOutPromptsComeFirst) {
  ScoredPlan plan, reference;
  plan.calibration = ScoreOf(Times(kLosses, 0.5));
  reference.calibration = ScoreOf(kLosses);
  EXPECT_EQ(ComparePlans(plan, reference)->standing, Standing::kAsGood);
  plan.held_out = HeldOutScore{.score = ScoreOf(Times(kLosses, 2)), .loss_interval = {}};
  reference.held_out = HeldOutScore{.score = ScoreOf(kLosses), .loss_interval = {}};
  EXPECT_EQ(ComparePlans(plan, reference)->standing, Standing::kWorse);
  // What the run says of other prompts does not stand in for prompts that are not known.
  plan.held_out->score.per_prompt.clear();
  EXPECT_EQ(ComparePlans(plan, reference), std::nullopt);
  plan.held_out.reset();
  plan.calibration.per_prompt.clear();
  EXPECT_EQ(ComparePlans(plan, reference), std::nullopt);
}

TEST(PlanComparison, JsonNamesEveryField) {
  const Json json = ToJson(ComparePlans(ScoreOf(Times(kLosses, 1.2)), ScoreOf(kLosses)));
  EXPECT_EQ(json["standing"], "worse");
  EXPECT_EQ(json["worse_prompts"], 10);
  EXPECT_EQ(json["margin"], 0.1);
  EXPECT_EQ(json["interval"].size(), 2u);
  EXPECT_TRUE(json["prompts_to_decide"].is_null());
}

}  // namespace
}  // namespace kvtune
