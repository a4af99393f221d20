#include "search/pick.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <iterator>
#include <limits>

#include "lib/base/error.h"
#include "tests/support/test_data.h"

namespace kvtune {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;
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

// Ten prompts of 100 tokens whose losses differ by a factor of 34.
constexpr double kPromptLosses[] = {1, 2, 3, 5, 8, 13, 21, 34, 3, 5};

// A score of `loss` nats per token. With a wobble, every other prompt loses that share more and the
// others that share less, against plans without one.
PlanScore ScoreOf(double loss, double wobble = 0) {
  PlanScore score;
  double sum = 0;
  for (size_t i = 0; i < std::size(kPromptLosses); ++i) {
    PromptScore prompt;
    prompt.tokens = 100;
    prompt.kl_sum = kPromptLosses[i] * (i % 2 == 0 ? 1 + wobble : 1 - wobble);
    sum += prompt.kl_sum;
    score.tokens += prompt.tokens;
    score.per_prompt.push_back(prompt);
  }
  for (PromptScore& prompt : score.per_prompt)
    prompt.kl_sum *= loss * static_cast<double>(score.tokens) / sum;
  score.prompts = static_cast<int64_t>(score.per_prompt.size());
  score.kl_mean = loss;
  return score;
}

void AddHeldOut(ScoredPlan& plan, double loss, double wobble = 0) {
  plan.held_out = HeldOutScore{.score = ScoreOf(loss, wobble), .loss_interval = {}};
}

// Held-out losses: p01 is as good as uniform KV8 within the margin, p02 is not.
ParetoFront HeldOutFront() {
  ParetoFront front = SmallFront();
  AddHeldOut(front.plans[0], 0.010);
  AddHeldOut(front.plans[1], 0.0108);
  AddHeldOut(front.plans[2], 0.200);
  AddHeldOut(front.plans[3], 2.000);
  AddHeldOut(front.uniform[0], 0.200);
  AddHeldOut(front.uniform[1], 0.010);
  return front;
}

PickConstraints Lossless() {
  PickConstraints constraints;
  constraints.lossless = true;
  return constraints;
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
  constraints = {};
  constraints.max_bytes = 400;
  EXPECT_EQ(PickPlan(SmallFront(), constraints).plan.name, "p02");
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

TEST(Pick, LosslessIsAsGoodAsUniformEightBits) {
  const PickedPlan picked = PickPlan(HeldOutFront(), Lossless());
  EXPECT_EQ(picked.plan.name, "p01");
  EXPECT_EQ(picked.reference, "KV8");
  ASSERT_TRUE(picked.comparison);
  EXPECT_EQ(picked.comparison->standing, Standing::kAsGood);
  EXPECT_EQ(picked.reason,
            "the cheapest of 4 plans with a held-out loss as good as that of KV8 (at most 1.1 "
            "times it, with 95 % confidence); 1.08 [1.08, 1.08] times the loss of KV8, worse on "
            "10 of 10 prompts");
  // Without a noise floor no difference is rounding.
  ParetoFront without_floor = HeldOutFront();
  without_floor.run.noise_floor.reset();
  EXPECT_EQ(PickPlan(without_floor, Lossless()).reason, picked.reason);
  PickConstraints strict = Lossless();
  strict.margin = 0.05;
  EXPECT_EQ(PickPlan(HeldOutFront(), strict).plan.name, "p00");
}

// Noisier data must not permit worse plans: the mean is the same, but prompts disagree.
TEST(Pick, WhatPromptsDisagreeAboutIsNotLossless) {
  ParetoFront front = HeldOutFront();
  AddHeldOut(front.plans[1], 0.0108, 0.3);
  const PickedPlan picked = PickPlan(front, Lossless());
  EXPECT_EQ(picked.plan.name, "p00");
  EXPECT_THAT(picked.reason, HasSubstr("; not decided: p01 has 1.08 ["));
  EXPECT_THAT(picked.reason, HasSubstr("prompts like these would decide"));
}

// Both lose the same on every prompt.
TEST(Pick, OfTwoUndecidedPlansAsNearTheLargerIsNamed) {
  ParetoFront front = HeldOutFront();
  for (const size_t i : {1, 2}) AddHeldOut(front.plans[i], 0.0108, 0.3);
  EXPECT_EQ(PickPlan(front, Lossless()).undecided, "p01");
  AddHeldOut(front.plans[2], 0.0107, 0.3);
  EXPECT_EQ(PickPlan(front, Lossless()).undecided, "p02");
}

TEST(Pick, LikeNamesAnyMeasuredPlan) {
  ParetoFront front = HeldOutFront();
  PickConstraints constraints;
  constraints.like = "p02";
  EXPECT_EQ(PickPlan(front, constraints).plan.name, "p02");
  constraints.like = "K8V4";  // as p01 is written out
  EXPECT_EQ(PickPlan(front, constraints).reference, "p01");
  EXPECT_EQ(PickPlan(front, constraints).plan.name, "p01");
  constraints.like = "p77";
  EXPECT_THAT([&] { PickPlan(front, constraints); },
              ThrowsMessage<Error>(HasSubstr("found no plan \"p77\"")));
  constraints.like = "K8V44";
  EXPECT_THAT([&] { PickPlan(front, constraints); },
              ThrowsMessage<Error>(HasSubstr("did you mean")));
  constraints.lossless = true;
  EXPECT_THAT([&] { PickPlan(front, constraints); },
              ThrowsMessage<Error>(HasSubstr("found --lossless and --like")));
}

TEST(Pick, LosslessAndALossMeanBoth) {
  PickConstraints constraints = Lossless();
  constraints.max_loss = 0.0101;
  EXPECT_EQ(PickPlan(HeldOutFront(), constraints).plan.name, "p00");
  constraints.max_loss = 1;
  EXPECT_EQ(PickPlan(HeldOutFront(), constraints).plan.name, "p01");
}

TEST(Pick, NothingAsGoodSaysHowManyPromptsWouldDecide) {
  ParetoFront front = HeldOutFront();
  AddHeldOut(front.plans[1], 0.0108, 0.3);
  PickConstraints constraints = Lossless();
  constraints.max_bits = 7;
  EXPECT_THAT([&] { PickPlan(front, constraints); },
              ThrowsMessage<Error>(AllOf(HasSubstr("found none among 4"),
                                         HasSubstr("not decided: p01 has 1.08 ["),
                                         HasSubstr("prompts like these would decide"))));
}

TEST(Pick, LosslessKnowsTheEightBitFormatsOfOtherTargets) {
  ParetoFront front = HeldOutFront();
  front.uniform[1].plan = PrecisionPlan::Uniform({KvFormatId::kKiviInt8, KvFormatId::kKiviInt8}, 2);
  EXPECT_EQ(EightBitPlan(front), &front.uniform[1]);
  EXPECT_EQ(PickPlan(front, Lossless()).plan.name, "p01");
  // Users of vLLM run FP8, whichever other formats of 8 bits come first.
  front.uniform.push_back(PlanOf("fp8_e4m3", {KvFormatId::kFp8E4m3, KvFormatId::kFp8E4m3}, 8, 1));
  EXPECT_EQ(EightBitPlan(front)->name, "fp8_e4m3");
}

TEST(Pick, LosslessSaysWhatIsMissing) {
  ParetoFront front = HeldOutFront();
  front.plans[2].held_out->score.per_prompt.clear();
  EXPECT_THAT([&] { PickPlan(front, Lossless()); },
              ThrowsMessage<Error>(StrEq(
                  "comparing plans with KV8: found no losses by prompt of p02, expected them in "
                  "the run's held_out.jsonl")));
  EXPECT_THAT([&] { PickPlan(SmallFront(), Lossless()); },
              ThrowsMessage<Error>(HasSubstr("found no held-out scores, expected them")));
  front.uniform.pop_back();
  EXPECT_THAT([&] { PickPlan(front, Lossless()); },
              ThrowsMessage<Error>(HasSubstr("found no uniform 8-bit plan")));
}

TEST(Pick, SeesUniformPlansAndThoseNearTheFront) {
  ParetoFront front = HeldOutFront();
  PickConstraints constraints;
  constraints.max_bits = 4;
  EXPECT_EQ(PickPlan(front, constraints).plan.name, "p02");
  // The search left this one out by its calibration loss.
  front.uniform.push_back(PlanOf("K4V2", kK4V2, 3, 0.3));
  AddHeldOut(front.uniform.back(), 0.05);
  EXPECT_EQ(PickPlan(front, constraints).plan.name, "K4V2");
  front.near = {PlanOf("n00", kK2V4, 3.5, 0.3)};
  AddHeldOut(front.near.back(), 0.01);
  EXPECT_EQ(PickPlan(front, constraints).plan.name, "n00");
}

TEST(Pick, PlansThatCannotBeToldApartAreNamed) {
  ParetoFront front = HeldOutFront();
  AddHeldOut(front.plans[1], 0.0108, 0.3);
  PickConstraints constraints;
  constraints.max_bits = 8;
  const PickedPlan picked = PickPlan(front, constraints);
  EXPECT_EQ(picked.plan.name, "p00");
  EXPECT_THAT(picked.ties, ::testing::ElementsAre("p01"));
  EXPECT_EQ(picked.reason,
            "the best of 4 plans with at most 8 effective bits; by held-out loss it cannot be told "
            "from p01");
}

// On two prompts no interval is claimed, so that no plan is shown to be worse.
TEST(Pick, APlanThatLosesSeveralTimesAsMuchIsNoTie) {
  ParetoFront front = HeldOutFront();
  for (ScoredPlan* plan : AllPlans(front)) {
    if (plan->held_out) plan->held_out->score.per_prompt.resize(2);
  }
  PickConstraints constraints;
  constraints.max_bits = 8;
  const PickedPlan picked = PickPlan(front, constraints);
  EXPECT_EQ(picked.plan.name, "p00");
  EXPECT_THAT(picked.ties, ::testing::ElementsAre("p01"));  // 1.08 times its loss; others 20 times
}

TEST(Pick, WithoutPromptsTheNoiseFloorTellsPlansApart) {
  ParetoFront front = SmallFront();
  front.plans = {PlanOf("p00", kKV8, 8, 0.25), PlanOf("p01", kK8V4, 6, 0.5)};
  front.uniform.clear();
  PickConstraints constraints;
  constraints.max_bits = 8;
  EXPECT_THAT(PickPlan(front, constraints).ties, ::testing::IsEmpty());
  front.run.noise_floor = 0.25;
  EXPECT_THAT(PickPlan(front, constraints).ties, ::testing::ElementsAre("p01"));
  front.run.noise_floor = 0.24;
  EXPECT_THAT(PickPlan(front, constraints).ties, ::testing::IsEmpty());
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

TEST(Pick, LimitsAndTheMarginAreFiniteAndNotNegative) {
  const double infinity = std::numeric_limits<double>::infinity();
  const auto error_of = [](const PickConstraints& constraints) -> std::string {
    try {
      PickPlan(SmallFront(), constraints);
      return "";
    } catch (const Error& error) {
      return error.what();
    }
  };
  for (const double no_limit : {-0.001, infinity}) {
    for (const auto limit : {&PickConstraints::max_loss, &PickConstraints::max_bits,
                             &PickConstraints::max_bytes, &PickConstraints::max_milliseconds}) {
      PickConstraints constraints;
      constraints.*limit = no_limit;
      EXPECT_THAT(error_of(constraints), HasSubstr("found the limit "));
      constraints.*limit = 0;
      EXPECT_THAT(error_of(constraints), Not(HasSubstr("found the limit ")));
    }
    PickConstraints constraints;
    constraints.max_loss = 1;
    constraints.margin = no_limit;
    EXPECT_THAT(error_of(constraints), HasSubstr("found the margin "));
    constraints.margin = 0;
    EXPECT_EQ(error_of(constraints), "");
  }
}

TEST(Pick, EmptyFrontHasNoPlans) {
  ParetoFront front = SmallFront();
  front.plans.clear();
  front.uniform.clear();
  PickConstraints constraints;
  constraints.max_loss = 1;
  EXPECT_THAT([&] { PickPlan(front, constraints); },
              ThrowsMessage<Error>(HasSubstr("an empty front")));
}

// A plan is the slower the more bytes it has, but p01, which takes the most time.
ParetoFront TimedFront() {
  ParetoFront front = SmallFront();
  front.latency = LatencySource{.device = "a device", .setting = {8, 1024}, .table = "xxh3:0"};
  for (ScoredPlan* plan : AllPlans(front)) plan->cost.latency_ms = plan->cost.nominal_bits / 4;
  front.plans[1].cost.latency_ms = 3;
  return front;
}

TEST(PickPlan, TheBestThatIsFastEnough) {
  const ParetoFront front = TimedFront();
  PickConstraints constraints;
  constraints.max_milliseconds = 1.5;
  PickedPlan picked = PickPlan(front, constraints);
  EXPECT_EQ(picked.plan.name, "p02");
  EXPECT_THAT(picked.reason, HasSubstr("at most 1.5 ms of attention"));
  constraints.max_milliseconds = 2;
  EXPECT_EQ(PickPlan(front, constraints).plan.name, "p00");
  constraints.max_bits = 6;  // p01 would fit but for its time
  EXPECT_EQ(PickPlan(front, constraints).plan.name, "p02");
  constraints.max_milliseconds = 0.1;
  EXPECT_THAT([&] { PickPlan(front, constraints); },
              ThrowsMessage<Error>(
                  AllOf(HasSubstr("the nearest is p03"), HasSubstr(", 0.5 ms of attention"))));
}

// A plan that is small and fast enough comes first, then one that is only too slow, then the rest:
// whatever the numbers are by which those of one kind are ordered.
TEST(PickPlan, TheNearestMissKeepsAsManyLimitsAsItCan) {
  ParetoFront front = TimedFront();
  for (size_t i = 0; i < 4; ++i) front.plans[i].calibration.kl_mean = 5 + static_cast<double>(i);
  PickConstraints constraints;
  constraints.max_loss = 1;
  constraints.max_milliseconds = 1.5;  // p02 and p03; p00 takes 2 ms, which is less than 7 nats
  EXPECT_THAT([&] { PickPlan(front, constraints); },
              ThrowsMessage<Error>(HasSubstr("the nearest is p02")));
  for (ScoredPlan& plan : front.plans) plan.cost.latency_ms = 1e6 * plan.cost.nominal_bits;
  constraints.max_bits = 6;  // all but p00, of which the bytes are fewer than the ms of the others
  EXPECT_THAT([&] { PickPlan(front, constraints); },
              ThrowsMessage<Error>(HasSubstr("the nearest is p03")));
}

TEST(PickPlan, ARunWithoutTimesHasNoneToLimit) {
  PickConstraints constraints;
  constraints.max_milliseconds = 1;
  EXPECT_THAT([&] { PickPlan(SmallFront(), constraints); },
              ThrowsMessage<Error>(HasSubstr("found --max-milliseconds for a run without times")));
}

}  // namespace
}  // namespace kvtune
