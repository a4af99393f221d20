#include "search/racing.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "lib/base/random.h"
#include "search/evaluation_cache.h"
#include "tests/support/fake_evaluator.h"
#include "tests/support/test_data.h"

namespace kvtune {
namespace {

using ::testing::ElementsAre;

TEST(Racing, RoundsDoubleUpToAllPrompts) {
  EXPECT_THAT(RacingRounds(3), ElementsAre(3));
  EXPECT_THAT(RacingRounds(8), ElementsAre(8));
  EXPECT_THAT(RacingRounds(20), ElementsAre(8, 16, 20));
  EXPECT_THAT(RacingRounds(160), ElementsAre(20, 40, 80, 160));
}

TEST(Racing, ClearlyWorseNeedsMoreThanChance) {
  const std::vector<double> rival = {1, 2, 3, 4, 5, 6, 7, 8};
  std::vector<double> twice, mixed;
  for (size_t i = 0; i < rival.size(); ++i) {
    twice.push_back(2 * rival[i]);
    mixed.push_back(rival[i] * (i % 2 == 0 ? 0.2 : 2.1));
  }
  EXPECT_TRUE(ClearlyWorse(twice, rival, 64, {}));
  EXPECT_FALSE(ClearlyWorse(rival, twice, 64, {}));
  EXPECT_FALSE(ClearlyWorse(rival, rival, 64, {}));
  EXPECT_FALSE(ClearlyWorse(mixed, rival, 64, {}));
  EXPECT_FALSE(ClearlyWorse(std::vector{2.0}, std::vector{1.0}, 64, {}));
  EXPECT_FALSE(ClearlyWorse(twice, std::vector(8, 0.0), 64, {}));
}

// By hand: means 3 and 2, e = (1/3 - 1/2, 5/3 - 3/2), sum of squares 1/18, n = 2 of 4 prompts:
// standard error sqrt(1/2 * 1/18 / 2) = 0.118, ln 1.5 = 0.405, ratio 3.44. Student's t with one
// degree of freedom: tan(pi (q - 1/2)) is 3.44 at q = 0.910.
TEST(Racing, TestIsTheOneThatIsStated) {
  const std::vector<double> plan = {1, 5}, rival = {1, 3};
  EXPECT_TRUE(ClearlyWorse(plan, rival, 4, {.confidence = 0.909}));
  EXPECT_FALSE(ClearlyWorse(plan, rival, 4, {.confidence = 0.911}));
}

// The first `wrong` of so many items are wrong.
std::vector<double> Verdicts(size_t items, size_t wrong) {
  std::vector<double> verdicts(items, 0.005);  // half an item over all of 100
  std::fill_n(verdicts.begin(), wrong, 1.005);
  return verdicts;
}

RacingOptions ByVerdicts(double confidence) {
  return {.confidence = confidence, .losses = LossKind::kVerdicts};
}

// By hand: 3 of 8 items differ, so 38 of 100 will; that all 3 of 19 lost and 19 gained ones are
// lost has the probability 19 * 18 * 17 / (38 * 37 * 36) = 0.1149.
TEST(Racing, VerdictsHaveAnExactTest) {
  EXPECT_TRUE(ClearlyWorse(Verdicts(8, 3), Verdicts(8, 0), 100, ByVerdicts(0.885)));
  EXPECT_FALSE(ClearlyWorse(Verdicts(8, 3), Verdicts(8, 0), 100, ByVerdicts(0.886)));
  // 8 of 8: C(50, 8) / C(100, 8) = 0.00288.
  EXPECT_TRUE(ClearlyWorse(Verdicts(8, 8), Verdicts(8, 0), 100, ByVerdicts(0.997)));
  EXPECT_FALSE(ClearlyWorse(Verdicts(8, 8), Verdicts(8, 0), 100, ByVerdicts(0.998)));
  EXPECT_FALSE(ClearlyWorse(Verdicts(8, 0), Verdicts(8, 8), 100, ByVerdicts(0.6)));
  EXPECT_FALSE(ClearlyWorse(Verdicts(8, 4), Verdicts(8, 4), 100, ByVerdicts(0.6)));
  // Lost and gained ones both count: 12 and 4 of 16 that differ are not beyond doubt.
  std::vector<double> plan = Verdicts(16, 12), rival(16, 0.005);
  std::fill_n(rival.begin() + 12, 4, 1.005);
  EXPECT_FALSE(ClearlyWorse(plan, rival, 100, ByVerdicts(0.99)));
}

TEST(Racing, VerdictsKnowThatItemsAreFinite) {
  // The same 4 lost items of 16: chance while there are 100, beyond doubt where 3 are left.
  EXPECT_FALSE(ClearlyWorse(Verdicts(16, 4), Verdicts(16, 0), 100, ByVerdicts(0.999)));
  EXPECT_TRUE(ClearlyWorse(Verdicts(16, 4), Verdicts(16, 0), 19, ByVerdicts(0.999)));
  EXPECT_FALSE(ClearlyWorse(Verdicts(16, 1), Verdicts(16, 0), 17, ByVerdicts(0.999)));
}

// Plan and rival lose as many items of the population to each other, so that each stop is a
// mistake.
TEST(Racing, VerdictsStopAnEqualPlanAsSeldomAsIsStated) {
  constexpr size_t kItems = 100, kTrials = 2000;
  for (const size_t lost : {5u, 15u, 30u}) {
    std::vector<double> of_items(kItems, 0);  // +1: only the plan is wrong, -1: only the rival
    std::fill_n(of_items.begin(), lost, 1);
    std::fill_n(of_items.begin() + static_cast<ptrdiff_t>(lost), lost, -1);
    Random random(lost);
    const std::vector<size_t> rounds = RacingRounds(kItems);
    size_t mistakes = 0;
    for (size_t trial = 0; trial < kTrials; ++trial) {
      random.Shuffle(std::span(of_items));
      std::vector<double> plan, rival;
      bool stops = false;
      for (const double of_item : of_items) {
        plan.push_back(of_item > 0 ? 1 : 0);
        rival.push_back(of_item < 0 ? 1 : 0);
        const bool is_round = std::ranges::count(rounds, plan.size()) > 0;
        stops = stops || (is_round && ClearlyWorse(plan, rival, kItems, ByVerdicts(0.99)));
      }
      mistakes += stops;
    }
    EXPECT_LT(static_cast<double>(mistakes) / kTrials, 0.01 * static_cast<double>(rounds.size()));
  }
}

// Gets more items wrong the fewer bits a plan has.
class VerdictEvaluator : public PlanEvaluator {
 public:
  size_t layer_count() const override { return 2; }
  size_t prompt_count() const override { return 64; }
  std::vector<std::vector<PromptScore>> ScorePrompts(std::span<const PrecisionPlan> plans,
                                                     PromptRange range) override {
    std::vector<std::vector<PromptScore>> scores;
    for (const PrecisionPlan& plan : plans) {
      std::vector<PromptScore>& items = scores.emplace_back();
      const size_t wrong = plan.layers[1] == kKV2 ? 40 : 2;
      for (size_t i = range.begin; i < range.end; ++i) {
        // A rank of its own for every item, mixed.
        const double loss = (i * 29) % 64 < wrong ? 1.0 + 0.5 / 64 : 0.5 / 64;
        items.push_back({.tokens = 1, .kl_sum = loss, .token_kl = {static_cast<float>(loss)}});
      }
      answers += range.end - range.begin;
    }
    return scores;
  }
  size_t answers = 0;
};

TEST(Racing, APlanThatLosesTooManyItemsStopsAnswering) {
  VerdictEvaluator evaluator;
  EvaluationCache cache(evaluator);
  const std::vector<PrecisionPlan> plans = {{{kKV8, kKV2}}, {{kKV4, kKV4}}, {{kKV2, kKV2}}};
  const std::vector<PlanScore> scores = cache.Race(plans, FakeCost, ByVerdicts(0.99));
  EXPECT_FALSE(scores[0].complete());  // more bytes than KV4, and far more wrong
  EXPECT_LT(scores[0].prompts, 64);
  EXPECT_GT(*scores[0].expected_loss, scores[1].kl_mean);
  EXPECT_TRUE(scores[1].complete());
  EXPECT_TRUE(scores[2].complete());  // as wrong, but smaller than every rival
  EXPECT_EQ(evaluator.answers, 128 + static_cast<size_t>(scores[0].prompts));
}

TEST(Racing, WorsePlansStopAndTheBestIsScoredOnAllPrompts) {
  FakeEvaluator fake({1, 1}, 0, 64);
  EvaluationCache cache(fake);
  const std::vector<PrecisionPlan> plans = {
      {{kKV8, kKV2}}, {{kKV4, kKV4}}, {{kKV2, kKV2}}, {{kK8V4, kK8V4}}};
  const std::vector<PlanScore> scores = cache.Race(plans, FakeCost, {});
  EXPECT_FALSE(scores[0].complete());  // more bytes and more loss than KV4
  EXPECT_EQ(scores[0].prompts, 8);
  EXPECT_GT(*scores[0].expected_loss, scores[1].kl_mean);
  EXPECT_NEAR(*scores[0].expected_loss, fake.ScoreOf(plans[0]).kl_mean,
              0.2 * fake.ScoreOf(plans[0]).kl_mean);
  for (const size_t i : {1, 2, 3}) {
    EXPECT_TRUE(scores[i].complete());
    EXPECT_EQ(scores[i].kl_mean, fake.ScoreOf(plans[i]).kl_mean);
  }
  EXPECT_EQ(fake.prompt_scores(), 3 * 64u + 8u);
}

TEST(Racing, KnownPlansAreRivalsAndCostNothing) {
  FakeEvaluator fake({1, 1}, 0, 64);
  EvaluationCache cache(fake);
  const PrecisionPlan good{{kKV4, kKV4}}, bad{{kKV8, kKV2}};
  int64_t handed = 0;
  EvaluationCache other(fake, [&](auto plans, auto) { handed += std::ssize(plans); });
  other.InsertForeign(good, fake.ScoreOf(good));
  const std::vector<PlanScore> scores = other.Race(std::vector{good, bad}, FakeCost, {});
  EXPECT_TRUE(scores[0].complete());
  EXPECT_FALSE(scores[1].complete());
  EXPECT_EQ(fake.prompt_scores(), 8u);
  EXPECT_EQ(handed, 2);                 // the log of the run holds both
  cache.InsertForeign(bad, scores[1]);  // only scores over all prompts are taken over
  EXPECT_TRUE(cache.Evaluate(std::vector{bad}).front().complete());
}

}  // namespace
}  // namespace kvtune
