#include "lib/run/summary_choice.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "tests/support/test_data.h"

namespace kvtune {
namespace {

// A plan of four layers whose eight prompts lose `kl` each, give or take `spread`.
ScoredPlan PlanOf(std::string name, std::string_view spec, double bytes, double kl,
                  double spread = 0) {
  ScoredPlan plan;
  plan.name = std::move(name);
  plan.plan = ParsePlanSpec(spec, 4, NinePairs());
  plan.cost.bytes_per_token = bytes;
  std::vector<PromptScore> prompts;
  for (int i = 0; i < 8; ++i) {
    const double loss = kl * (1 + (i % 2 == 0 ? spread : -spread));
    PromptScore prompt;
    prompt.tokens = 100;
    prompt.kl_sum = 100 * loss;
    prompt.top1_matches = 99;
    prompt.token_kl.assign(100, static_cast<float>(loss));
    prompts.push_back(prompt);
  }
  plan.calibration = Summarize(std::move(prompts));
  plan.calibration_interval = Interval{kl / 2, kl * 1.5};
  return plan;
}

// KV8 and four plans below it: losses grow slowly down to 500 bytes and fast from there.
ParetoFront BentFront() {
  ParetoFront front;
  front.plans = {PlanOf("p00", "KV8", 900, 1e-5), PlanOf("p01", "KV8;0:K8V4", 800, 1.02e-5),
                 PlanOf("p02", "K8V4", 500, 2e-5), PlanOf("p03", "KV4;0:KV8", 450, 5e-3),
                 PlanOf("p04", "KV2", 250, 0.5)};
  front.uniform = {PlanOf("KV8", "KV8", 900, 1e-5), PlanOf("KV4", "KV4", 440, 0.1),
                   PlanOf("KV2", "KV2", 250, 0.5)};
  front.reference = PlanOf("exact", "exact", 1600, 0);
  return front;
}

TEST(SummaryChoice, NamesTheAnswers) {
  const ParetoFront front = BentFront();
  const SummaryChoice choice = ChooseForSummary(front);
  EXPECT_EQ(choice.reference->name, "KV8");
  EXPECT_EQ(choice.four_bits->name, "KV4");
  EXPECT_EQ(choice.recommended->name, "p02");
  EXPECT_EQ(choice.smallest->name, "p03");  // p04 loses more than kSmallestLoss
}

TEST(SummaryChoice, OnHeldOutPromptsASmallerPlanMayBeAsGoodAsEightBits) {
  ParetoFront front = BentFront();
  EXPECT_EQ(ChooseForSummary(front).like_eight_bits, nullptr);
  for (ScoredPlan* plan : AllPlans(front))
    plan->held_out = HeldOutScore{.score = plan->calibration, .loss_interval = Interval{0, 1}};
  const SummaryChoice choice = ChooseForSummary(front);
  ASSERT_NE(choice.like_eight_bits, nullptr);
  EXPECT_EQ(choice.like_eight_bits->name, "p01");
  EXPECT_NEAR(choice.like_comparison->ratio, 1.02, 1e-6);
}

// Prompts disagree about p02, which is smaller than p01 and on average as good.
TEST(SummaryChoice, NamesTheSmallerPlanThatMorePromptsMightAllow) {
  ParetoFront front = BentFront();
  const auto score_held_out = [&] {
    for (ScoredPlan* plan : AllPlans(front))
      plan->held_out = HeldOutScore{.score = plan->calibration, .loss_interval = Interval{0, 1}};
  };
  score_held_out();
  EXPECT_EQ(ChooseForSummary(front).undecided, nullptr);
  front.plans[2] = PlanOf("p02", "K8V4", 500, 1.05e-5, 0.5);
  score_held_out();
  const SummaryChoice choice = ChooseForSummary(front);
  ASSERT_NE(choice.undecided, nullptr);
  EXPECT_EQ(choice.undecided->name, "p02");
  EXPECT_NEAR(choice.undecided_comparison->ratio, 1.05, 1e-6);
  EXPECT_EQ(choice.like_eight_bits->name, "p01");
}

TEST(SummaryChoice, TheSmallestPlanHasAnIntervalThatIsSmallToo) {
  ParetoFront front = BentFront();
  front.plans[3].calibration_interval = Interval{1e-3, 0.02};
  EXPECT_EQ(ChooseForSummary(front).smallest->name, "p02");
  front.plans[2].calibration_interval = std::nullopt;  // too few prompts carry its loss
  EXPECT_EQ(ChooseForSummary(front).smallest->name, "p01");
}

TEST(SummaryChoice, ALossIsLittleUpToTheLimitItself) {
  ParetoFront front = BentFront();
  front.latency = LatencySource{.device = "a device", .setting = {8, 8192}, .table = "xxh3:0"};
  for (ScoredPlan* plan : AllPlans(front)) plan->cost.latency_ms = plan->cost.bytes_per_token;
  front.plans[3].calibration_interval = Interval{1e-3, kSmallestLoss};
  EXPECT_EQ(ChooseForSummary(front).smallest->name, "p03");
  EXPECT_EQ(ChooseForSummary(front).fastest->name, "p03");
  front.plans[3].calibration_interval = Interval{1e-3, kSmallestLoss + 1e-6};
  EXPECT_EQ(ChooseForSummary(front).smallest->name, "p02");
  EXPECT_EQ(ChooseForSummary(front).fastest->name, "p02");
}

// KV4 lost more than p04 on the prompts of the search and less on the held-out ones.
TEST(SummaryChoice, AUniformPlanOfLittleLossNeedNotBeOnTheFront) {
  ParetoFront front = BentFront();
  front.latency = LatencySource{.device = "a device", .setting = {8, 8192}, .table = "xxh3:0"};
  for (ScoredPlan* plan : AllPlans(front)) {
    plan->cost.latency_ms = plan->cost.bytes_per_token;
    plan->held_out =
        HeldOutScore{.score = plan->calibration, .loss_interval = plan->calibration_interval};
  }
  EXPECT_EQ(ChooseForSummary(front).smallest->name, "p03");
  EXPECT_EQ(ChooseForSummary(front).fastest->name, "p03");
  front.uniform[1].held_out->loss_interval = Interval{1e-3, 5e-3};
  const SummaryChoice choice = ChooseForSummary(front);
  EXPECT_EQ(choice.smallest->name, "KV4");
  EXPECT_EQ(choice.fastest->name, "KV4");
  EXPECT_EQ(std::ranges::count(choice.rows, choice.smallest), 1);
}

TEST(SummaryChoice, OfPlansOfTheSameSizeTheSmallestLosesLeast) {
  ParetoFront front = BentFront();
  front.plans.push_back(PlanOf("p03b", "K4V8", 450, 1e-3));
  EXPECT_EQ(ChooseForSummary(front).smallest->name, "p03b");
  std::swap(front.plans[3], front.plans[5]);
  EXPECT_EQ(ChooseForSummary(front).smallest->name, "p03b");
}

TEST(SummaryChoice, FourBitsAreThoseOfKeysAndOfValues) {
  ParetoFront front = BentFront();
  for (const char* mixed : {"K8V4", "K4V8", "K4V2"})
    front.uniform.push_back(PlanOf(mixed, mixed, 600, 0.9));
  EXPECT_EQ(ChooseForSummary(front).four_bits->name, "KV4");
  EXPECT_EQ(ChooseForSummary(front).best_four_bits->name, "KV4");
}

TEST(SummaryChoice, RowsAreFewOrderedAndDistinct) {
  ParetoFront front = BentFront();
  front.plans.clear();
  for (int i = 0; i < 20; ++i) {  // ever steeper losses: every plan is a knee
    constexpr const char* kPairs[] = {"KV8", "K4V8", "K8V4", "K4V2", "KV2"};
    const std::string spec = std::string("K8V2;0:") + kPairs[i % 5] + ";1:" + kPairs[i / 5];
    front.plans.push_back(
        PlanOf("x" + std::to_string(i), spec, 850 - 30 * i, 1.1e-5 * std::pow(10, 0.012 * i * i)));
  }
  const SummaryChoice choice = ChooseForSummary(front);
  EXPECT_EQ(choice.rows.size(), kMostRows);
  EXPECT_TRUE(std::ranges::is_sorted(choice.rows, std::greater<>(), [](const ScoredPlan* plan) {
    return plan->cost.bytes_per_token;
  }));
  for (const ScoredPlan* answer :
       {choice.reference, choice.four_bits, choice.recommended, choice.smallest}) {
    EXPECT_EQ(std::ranges::count(choice.rows, answer->plan,
                                 [](const ScoredPlan* row) { return row->plan; }),
              1)
        << answer->name;
  }
}

TEST(SummaryChoice, LittleIsEnough) {
  ParetoFront front;
  front.reference = PlanOf("exact", "exact", 1600, 0);
  front.uniform = {PlanOf("KV4", "KV4", 440, 0.1)};
  const SummaryChoice choice = ChooseForSummary(front);
  EXPECT_EQ(choice.reference, nullptr);
  EXPECT_EQ(choice.recommended, nullptr);
  EXPECT_EQ(choice.smallest, nullptr);
  ASSERT_EQ(choice.rows.size(), 1u);
}

// p02b is faster than p02 at more loss and the same bytes, so that it is on the front for its time
// alone.
TEST(SummaryChoice, TimesChooseTheFastestAndNothingElse) {
  ParetoFront front = BentFront();
  const SummaryChoice before = ChooseForSummary(front);
  EXPECT_EQ(before.fastest, nullptr);
  front.plans.insert(front.plans.begin() + 3, PlanOf("p02b", "K4V8", 500, 1e-3));
  front.latency = LatencySource{.device = "a device", .setting = {8, 8192}, .table = "xxh3:0"};
  for (ScoredPlan* plan : AllPlans(front)) plan->cost.latency_ms = plan->cost.bytes_per_token;
  front.plans[3].cost.latency_ms = 100;
  const SummaryChoice choice = ChooseForSummary(front);
  EXPECT_EQ(choice.fastest->name, "p02b");
  EXPECT_EQ(choice.recommended->name, "p02");
  EXPECT_EQ(choice.smallest->name, "p03");
  EXPECT_EQ(std::ranges::count(choice.rows, choice.fastest), 1);
  front.plans[3].calibration_interval = Interval{1e-3, 0.1};  // perhaps it loses too much
  EXPECT_NE(ChooseForSummary(front).fastest->name, "p02b");
}

}  // namespace
}  // namespace kvtune
