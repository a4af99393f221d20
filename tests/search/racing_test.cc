#include "search/racing.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

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
