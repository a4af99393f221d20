#include "search/pick.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

#include "lib/base/error.h"
#include "tests/support/test_data.h"

namespace kvtune {
namespace {

using ::testing::HasSubstr;
using ::testing::StrEq;
using ::testing::ThrowsMessage;

ScoredPlan PlanOf(std::string name, PrecisionPair pair, double bits, double loss) {
  ScoredPlan plan;
  plan.name = std::move(name);
  plan.plan = PrecisionPlan::Uniform(pair, 2);
  plan.cost = {bits, bits, 100 * bits};
  plan.calibration.kl_mean = loss;
  return plan;
}

// p00 at 8 bits to p03 at 2 bits; losses 0.001 to 1 nats per token.
ParetoFront SmallFront() {
  ParetoFront front;
  front.run = TestRun(2);
  front.plans = {PlanOf("p00", kKV8, 8, 0.001), PlanOf("p01", kK8V4, 6, 0.01),
                 PlanOf("p02", kKV4, 4, 0.1), PlanOf("p03", kKV2, 2, 1)};
  front.uniform = {PlanOf("KV4", kKV4, 4, 0.1), PlanOf("KV8", kKV8, 8, 0.001)};
  front.reference = PlanOf("exact", kExactPair, 16, 0);
  return front;
}

void AddHeldOut(ScoredPlan& plan, double loss, Interval interval) {
  plan.held_out = HeldOutScore{};
  plan.held_out->score.kl_mean = loss;
  plan.held_out->loss_interval = interval;
}

// Held-out losses: p01 within the interval of uniform KV8, p02 not.
ParetoFront HeldOutFront() {
  ParetoFront front = SmallFront();
  AddHeldOut(front.plans[0], 0.010, {0.008, 0.012});
  AddHeldOut(front.plans[1], 0.015, {0.013, 0.017});
  AddHeldOut(front.plans[2], 0.200, {0.100, 0.300});
  AddHeldOut(front.plans[3], 2.000, {1.000, 3.000});
  AddHeldOut(front.uniform[1], 0.010, {0.005, 0.016});
  return front;
}

TEST(Pick, TakesTheCheapestPlanWithinTheLoss) {
  PickConstraints constraints;
  constraints.max_loss = 0.05;
  const PickedPlan picked = PickPlan(SmallFront(), constraints);
  EXPECT_EQ(picked.plan.name, "p01");
  EXPECT_EQ(picked.scores, ScoreSet::kCalibration);
  EXPECT_EQ(picked.reason,
            "the cheapest of 4 plans with a calibration loss of at most 0.05 nats per token");
}

TEST(Pick, LimitsThemselvesAreAllowed) {
  PickConstraints constraints;
  constraints.max_loss = 0.1;
  EXPECT_EQ(PickPlan(SmallFront(), constraints).plan.name, "p02");
  constraints = {};
  constraints.max_bits = 6;
  EXPECT_EQ(PickPlan(SmallFront(), constraints).plan.name, "p01");
}

TEST(Pick, TakesTheBestPlanWithinTheBytes) {
  PickConstraints constraints;
  constraints.max_bytes = 500;
  const PickedPlan picked = PickPlan(SmallFront(), constraints);
  EXPECT_EQ(picked.plan.name, "p02");
  EXPECT_EQ(picked.reason, "the best of 4 plans with at most 500 bytes per token");
}

TEST(Pick, TakesTheBestPlanWithinTheBits) {
  PickConstraints constraints;
  constraints.max_bits = 7.5;
  EXPECT_EQ(PickPlan(SmallFront(), constraints).plan.name, "p01");
}

TEST(Pick, AllConstraintsMustHold) {
  PickConstraints constraints;
  constraints.max_loss = 0.5;
  constraints.max_bits = 6;
  EXPECT_EQ(PickPlan(SmallFront(), constraints).plan.name, "p02");
  constraints.max_loss = 0.001;
  EXPECT_THAT(
      [&] { PickPlan(SmallFront(), constraints); },
      ThrowsMessage<Error>(StrEq(
          "picking a plan: found none among 4 with a calibration loss of at most 0.001 nats per "
          "token and at most 6 effective bits; the nearest is p01 with a calibration loss of 0.01 "
          "nats per token at 6 effective bits and 600 bytes per token")));
}

TEST(Pick, NearestMissOfTheSizeIsTheSmallestPlan) {
  PickConstraints constraints;
  constraints.max_bytes = 100;
  EXPECT_THAT([&] { PickPlan(SmallFront(), constraints); },
              ThrowsMessage<Error>(HasSubstr("the nearest is p03 with a calibration loss of 1")));
}

TEST(Pick, HeldOutScoresDecideWhenAllPlansHaveThem) {
  PickConstraints constraints;
  constraints.max_loss = 0.1;
  const PickedPlan picked = PickPlan(HeldOutFront(), constraints);
  EXPECT_EQ(picked.plan.name, "p01");  // by calibration it would be p02
  EXPECT_EQ(picked.scores, ScoreSet::kHeldOut);
  EXPECT_THAT(picked.reason, HasSubstr("a held-out loss of at most 0.1"));
  ParetoFront front = HeldOutFront();
  front.plans[3].held_out.reset();
  EXPECT_EQ(PickPlan(front, constraints).plan.name, "p02");
}

TEST(Pick, LosslessIsWithinTheIntervalOfUniformEightBits) {
  PickConstraints constraints;
  constraints.lossless = true;
  const PickedPlan picked = PickPlan(HeldOutFront(), constraints);
  EXPECT_EQ(picked.plan.name, "p01");
  EXPECT_THAT(picked.reason,
              HasSubstr("a held-out loss of at most 0.016 nats per token (lossless)"));
}

TEST(Pick, LosslessAndALossMeanTheStricterOne) {
  PickConstraints constraints;
  constraints.lossless = true;
  constraints.max_loss = 0.012;
  EXPECT_EQ(PickPlan(HeldOutFront(), constraints).plan.name, "p00");
  constraints.max_loss = 1;
  EXPECT_EQ(PickPlan(HeldOutFront(), constraints).plan.name, "p01");
}

TEST(Pick, LosslessKnowsTheEightBitFormatsOfOtherTargets) {
  ParetoFront front = HeldOutFront();
  front.uniform[1].plan = PrecisionPlan::Uniform({KvFormatId::kKiviInt8, KvFormatId::kKiviInt8}, 2);
  PickConstraints constraints;
  constraints.lossless = true;
  EXPECT_EQ(PickPlan(front, constraints).plan.name, "p01");
}

TEST(Pick, LosslessSaysWhatIsMissing) {
  PickConstraints constraints;
  constraints.lossless = true;
  ParetoFront front = HeldOutFront();
  front.uniform[1].held_out.reset();
  front.plans[2].held_out.reset();
  EXPECT_THAT(
      [&] { PickPlan(front, constraints); },
      ThrowsMessage<Error>(StrEq("picking a lossless plan: found no held-out scores for KV8, p02, "
                                 "expected them for every plan of the front and for uniform KV8")));
  front.uniform.pop_back();
  EXPECT_THAT([&] { PickPlan(front, constraints); },
              ThrowsMessage<Error>(HasSubstr("found no uniform 8-bit plan")));
}

TEST(Pick, NoConstraintIsAMistake) {
  try {
    PickPlan(SmallFront(), {});
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.exit_code(), ExitCode::kUsage);
    EXPECT_THAT(error.what(), HasSubstr("found no constraint"));
  }
}

TEST(Pick, LimitMustBeANumber) {
  PickConstraints constraints;
  constraints.max_loss = std::numeric_limits<double>::quiet_NaN();
  EXPECT_THAT([&] { PickPlan(SmallFront(), constraints); },
              ThrowsMessage<Error>(HasSubstr("found the limit nan")));
}

TEST(Pick, EmptyFrontHasNoPlans) {
  ParetoFront front = SmallFront();
  front.plans.clear();
  PickConstraints constraints;
  constraints.max_loss = 1;
  EXPECT_THAT([&] { PickPlan(front, constraints); },
              ThrowsMessage<Error>(HasSubstr("an empty front")));
}

}  // namespace
}  // namespace kvtune
