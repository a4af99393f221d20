#include "search/evaluation_cache.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

#include "lib/base/error.h"
#include "tests/support/fake_evaluator.h"
#include "tests/support/test_data.h"

namespace kvtune {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;
using ::testing::ThrowsMessage;

const PrecisionPlan kPlan8 = PrecisionPlan::Uniform(kKV8, 2);
const PrecisionPlan kPlan4 = PrecisionPlan::Uniform(kKV4, 2);
const PrecisionPlan kPlan2 = PrecisionPlan::Uniform(kKV2, 2);

TEST(EvaluationCache, OnlyUnknownPlansReachTheEvaluatorAsOneBatch) {
  FakeEvaluator fake({1, 2});
  EvaluationCache cache(fake);
  cache.Evaluate(std::vector{kPlan8});
  const std::vector<PlanScore> scores = cache.Evaluate(std::vector{kPlan4, kPlan8, kPlan2, kPlan4});
  EXPECT_THAT(fake.batches(), ElementsAre(ElementsAre(kPlan8), ElementsAre(kPlan4, kPlan2)));
  ASSERT_THAT(scores, SizeIs(4));
  EXPECT_EQ(scores[0].kl_mean, fake.ScoreOf(kPlan4).kl_mean);
  EXPECT_EQ(scores[1].kl_mean, fake.ScoreOf(kPlan8).kl_mean);
  EXPECT_EQ(scores[3].kl_mean, scores[0].kl_mean);
  EXPECT_EQ(cache.distinct_plans(), 3);
  EXPECT_EQ(cache.hits(), 2);
  EXPECT_THAT(cache.plans(), ElementsAre(kPlan8, kPlan4, kPlan2));
}

TEST(EvaluationCache, InsertedScoresCountOnceTheyAreAskedFor) {
  FakeEvaluator fake({1, 2});
  EvaluationCache cache(fake);
  cache.Insert(kPlan4, fake.ScoreOf(kPlan4));
  EXPECT_EQ(cache.distinct_plans(), 0);
  EXPECT_EQ(cache.CountNew(std::vector{kPlan4, kPlan4, kPlan8}), 2);
  cache.Evaluate(std::vector{kPlan4});
  EXPECT_THAT(fake.batches(), IsEmpty());
  EXPECT_EQ(cache.distinct_plans(), 1);
  EXPECT_EQ(cache.hits(), 0);
  EXPECT_EQ(cache.CountNew(std::vector{kPlan4}), 0);
}

TEST(EvaluationCache, NewScoresAreHandedOnInOrder) {
  FakeEvaluator fake({1, 2});
  std::vector<PrecisionPlan> handed;
  EvaluationCache cache(
      fake, [&](std::span<const PrecisionPlan> plans, std::span<const PlanScore> scores) {
        EXPECT_EQ(plans.size(), scores.size());
        handed.insert(handed.end(), plans.begin(), plans.end());
      });
  cache.Insert(kPlan8, fake.ScoreOf(kPlan8));
  cache.Evaluate(std::vector{kPlan2, kPlan8, kPlan4, kPlan2});
  cache.Evaluate(std::vector{kPlan2});
  EXPECT_THAT(handed, ElementsAre(kPlan2, kPlan4));
}

TEST(EvaluationCache, LossThatIsNotANumberNamesThePlan) {
  FakeEvaluator fake({1, std::numeric_limits<double>::infinity()});
  int handed = 0;
  EvaluationCache cache(fake, [&](auto, auto) { ++handed; });
  EXPECT_THAT([&] { cache.Evaluate(std::vector{kPlan4}); },
              ThrowsMessage<Error>(HasSubstr("scoring the plan \"KV4\": found a score of")));
  EXPECT_EQ(handed, 0);
  EXPECT_EQ(cache.distinct_plans(), 0);
}

}  // namespace
}  // namespace kvtune
