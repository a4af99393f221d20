#include "lib/run/held_out.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "lib/base/log.h"
#include "tests/support/fake_evaluator.h"
#include "tests/support/test_data.h"

namespace kvtune {
namespace {

using ::testing::IsEmpty;
using ::testing::SizeIs;

const std::vector<double> kHeldOutWeights = {3.1, 0.7};

bool NeverStops() { return false; }

// Nine uniform plans, nine mixed ones and the exact plan: more than one batch.
ParetoFront FrontOf(const FakeEvaluator& calibration) {
  SetLogLevel(LogLevel::kQuiet);
  ParetoFront front;
  front.run = TestRun(2);
  const auto scored = [&](std::string name, const PrecisionPlan& plan) {
    return ScoredPlan{.name = std::move(name),
                      .plan = plan,
                      .cost = FakeCost(plan),
                      .calibration = calibration.ScoreOf(plan)};
  };
  for (const PrecisionPair pair : NinePairs()) {
    front.uniform.push_back(scored(PairLabel(pair), PrecisionPlan::Uniform(pair, 2)));
    front.plans.push_back(scored("mixed " + PairLabel(pair), {{kExactPair, pair}}));
  }
  front.reference = scored("exact", PrecisionPlan::Uniform(kExactPair, 2));
  return front;
}

TEST(CalibrationIntervals, HoldTheMeanAndDependOnNoSeed) {
  const FakeEvaluator calibration(kHeldOutWeights, 0, 12);
  ParetoFront front = FrontOf(calibration);
  ParetoFront again = front;
  AddCalibrationIntervals(front);
  AddCalibrationIntervals(again);
  EXPECT_EQ(ToJson(front), ToJson(again));
  for (const ScoredPlan& plan : front.plans) {
    ASSERT_TRUE(plan.calibration_interval);
    EXPECT_LT(plan.calibration_interval->low, plan.calibration.kl_mean);
    EXPECT_GT(plan.calibration_interval->high, plan.calibration.kl_mean);
  }
  ASSERT_TRUE(front.reference.calibration_interval);
  EXPECT_EQ(front.reference.calibration_interval->high, 0);
  again.run.seed = 1;
  AddCalibrationIntervals(again);
  EXPECT_EQ(again.plans[0].calibration_interval, front.plans[0].calibration_interval);
}

TEST(CalibrationIntervals, NeedScoresByPrompt) {
  ParetoFront front = FrontOf(FakeEvaluator(kHeldOutWeights, 0, 12));
  front.uniform[3].calibration.per_prompt.clear();
  AddCalibrationIntervals(front);
  EXPECT_FALSE(front.uniform[3].calibration_interval);
  EXPECT_TRUE(front.uniform[4].calibration_interval);
}

TEST(HeldOutScores, AreOfAllPlans) {
  ParetoFront front = FrontOf(FakeEvaluator(kHeldOutWeights));
  front.near = {front.plans.front()};
  front.near.front().plan = {{kKV8, kK2V4}};
  FakeEvaluator fake(kHeldOutWeights, 0, 9);
  EvaluationCache held_out(fake);
  EXPECT_TRUE(AddHeldOutScores(front, held_out, NeverStops));
  const auto expect_score = [&](const ScoredPlan& plan) {
    ASSERT_TRUE(plan.held_out);
    const PlanScore expected = fake.ScoreOf(plan.plan);
    EXPECT_EQ(plan.held_out->score.kl_mean, expected.kl_mean);
    EXPECT_EQ(plan.held_out->score.prompts, 9);
    ASSERT_TRUE(plan.held_out->loss_interval);
    EXPECT_EQ(plan.held_out->prompts_for_interval, 0);
    EXPECT_LE(plan.held_out->loss_interval->low, expected.kl_mean);
    EXPECT_GE(plan.held_out->loss_interval->high, expected.kl_mean);
  };
  for (const ScoredPlan& plan : front.plans) expect_score(plan);
  for (const ScoredPlan& plan : front.uniform) expect_score(plan);
  for (const ScoredPlan& plan : front.near) expect_score(plan);
  expect_score(front.reference);
  ASSERT_THAT(fake.batches(), SizeIs(2));
  EXPECT_THAT(fake.batches()[0], SizeIs(16));
  EXPECT_THAT(fake.batches()[1], SizeIs(4));
}

TEST(HeldOutScores, OfFewPromptsHaveNoInterval) {
  ParetoFront front = FrontOf(FakeEvaluator(kHeldOutWeights));
  FakeEvaluator fake(kHeldOutWeights, 0, 6);
  EvaluationCache held_out(fake);
  EXPECT_TRUE(AddHeldOutScores(front, held_out, NeverStops));
  EXPECT_EQ(front.plans[0].held_out->loss_interval, std::nullopt);
  EXPECT_EQ(front.plans[0].held_out->prompts_for_interval, 8);
  EXPECT_EQ(front.reference.held_out->loss_interval, (Interval{0, 0}));
}

TEST(HeldOutScores, AreNotAddedWithoutPrompts) {
  ParetoFront front = FrontOf(FakeEvaluator(kHeldOutWeights));
  FakeEvaluator fake(kHeldOutWeights, 0, 0);
  EvaluationCache held_out(fake);
  EXPECT_TRUE(AddHeldOutScores(front, held_out, NeverStops));
  EXPECT_FALSE(front.reference.held_out);
  EXPECT_THAT(fake.batches(), IsEmpty());
}

TEST(HeldOutScores, AStopFillsNothingAndKeepsWhatWasScored) {
  ParetoFront front = FrontOf(FakeEvaluator(kHeldOutWeights));
  FakeEvaluator fake(kHeldOutWeights, 0, 6);
  EvaluationCache held_out(fake);
  int asked = 0;
  EXPECT_FALSE(AddHeldOutScores(front, held_out, [&] { return ++asked == 2; }));
  EXPECT_THAT(fake.batches(), SizeIs(1));
  EXPECT_EQ(held_out.distinct_plans(), 16);
  for (const ScoredPlan& plan : front.plans) EXPECT_FALSE(plan.held_out);
  EXPECT_TRUE(AddHeldOutScores(front, held_out, NeverStops));
  ASSERT_THAT(fake.batches(), SizeIs(2));
  EXPECT_THAT(fake.batches()[1], SizeIs(3));
  EXPECT_TRUE(front.plans.back().held_out);
}

TEST(HeldOutScores, WholeBatchesAreFollowedByNoEmptyOne) {
  ParetoFront front = FrontOf(FakeEvaluator(kHeldOutWeights));
  front.plans.resize(6);  // with the others 16, one batch
  FakeEvaluator fake(kHeldOutWeights, 0, 6);
  EvaluationCache held_out(fake);
  int asked = 0;
  EXPECT_TRUE(AddHeldOutScores(front, held_out, [&] { return ++asked > 1; }));
  EXPECT_THAT(fake.batches(), SizeIs(1));
  EXPECT_TRUE(front.plans.back().held_out);
}

}  // namespace
}  // namespace kvtune
