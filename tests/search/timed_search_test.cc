// Searches of three objectives: loss, bytes and time.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "lib/base/error.h"
#include "lib/core/objective.h"
#include "search/additive_plans.h"
#include "search/pareto.h"
#include "search/refinement.h"
#include "search/scouting.h"
#include "search/search.h"
#include "tests/support/fake_evaluator.h"
#include "tests/support/latency_data.h"
#include "tests/support/scored_space.h"

namespace kvtune {
namespace {

using ::testing::ElementsAre;
using ::testing::Not;
using ::testing::SizeIs;
using ::testing::UnorderedElementsAreArray;

PlanCost TimedCost(const PrecisionPlan& plan) {
  PlanCost cost = FakeCost(plan);
  cost.latency_ms = 0;
  for (const PrecisionPair pair : plan.layers) *cost.latency_ms += FakeMilliseconds(pair);
  return cost;
}

SearchProblem TimedProblem(size_t layers, const std::vector<PrecisionPair>& candidates) {
  LayerGroups groups;
  for (size_t i = 0; i < layers; ++i) groups.groups.push_back({{i}, candidates});
  return {.groups = std::move(groups), .uniform_pairs = candidates, .cost = TimedCost};
}

// Every plan of these pairs in every layer.
std::vector<PrecisionPlan> EveryPlan(size_t layers, const std::vector<PrecisionPair>& pairs) {
  std::vector<PrecisionPlan> plans = {{}};
  for (size_t layer = 0; layer < layers; ++layer) {
    std::vector<PrecisionPlan> longer;
    for (const PrecisionPlan& plan : plans) {
      for (const PrecisionPair pair : pairs) {
        longer.push_back(plan);
        longer.back().layers.push_back(pair);
      }
    }
    plans = std::move(longer);
  }
  return plans;
}

// The plans that no other one dominates, found by comparing each with each.
std::vector<PrecisionPlan> FrontByHand(const FakeEvaluator& fake,
                                       const std::vector<PrecisionPlan>& plans) {
  const auto of = [&](const PrecisionPlan& plan) {
    return ObjectivesFor(fake.ScoreOf(plan).kl_mean, TimedCost(plan));
  };
  std::vector<PrecisionPlan> front;
  for (const PrecisionPlan& plan : plans) {
    const bool dominated = std::ranges::any_of(
        plans, [&](const PrecisionPlan& other) { return Dominates(of(other), of(plan)); });
    if (!dominated) front.push_back(plan);
  }
  return front;
}

std::vector<PrecisionPlan> PlansOf(const std::vector<ScoredPlan>& scored) {
  std::vector<PrecisionPlan> plans;
  for (const ScoredPlan& plan : scored) plans.push_back(plan.plan);
  return plans;
}

const std::vector<double> kTimedWeights = {8.5, 1.0, 0.11};

TEST(TimedSearch, PlansOfEqualBytesStayWhereTheFasterOneLosesMore) {
  FakeEvaluator fake({1});
  EvaluationCache cache(fake);
  const SearchResult timed = Search(TimedProblem(1, {kK8V2, kK2V8}), cache, {});
  EXPECT_THAT(PlansOf(timed.front),
              UnorderedElementsAreArray(std::vector<PrecisionPlan>{{{kK8V2}}, {{kK2V8}}}));
  EvaluationCache again(fake);
  SearchProblem problem = TimedProblem(1, {kK8V2, kK2V8});
  problem.cost = FakeCost;
  EXPECT_THAT(PlansOf(Search(problem, again, {}).front), ElementsAre(PrecisionPlan{{kK8V2}}));
}

TEST(TimedSearch, ASmallSpaceIsEnumerated) {
  FakeEvaluator fake(kTimedWeights);
  EvaluationCache cache(fake);
  SearchOptions options;
  options.exact = true;
  const SearchResult result = Search(TimedProblem(3, NinePairs()), cache, options);
  EXPECT_TRUE(result.summary.exhaustive);
  const std::vector<PrecisionPlan> front = FrontByHand(fake, EveryPlan(3, NinePairs()));
  EXPECT_GT(front.size(), 30u);
  EXPECT_THAT(PlansOf(result.front), UnorderedElementsAreArray(front));
  for (size_t i = 1; i < result.front.size(); ++i)
    EXPECT_GE(result.front[i - 1].cost.bytes_per_token, result.front[i].cost.bytes_per_token);
}

// 125 plans; NSGA-II with its proposals finds the 3-objective front that enumeration finds.
TEST(TimedSearch, TheSearchFindsTheFrontOfTheEnumeration) {
  const std::vector<PrecisionPair> five = {kKV8, kK8V2, kK2V8, kKV4, kKV2};
  for (const double interaction : {0.0, 2.0}) {
    FakeEvaluator fake(kTimedWeights, interaction);
    EvaluationCache cache(fake);
    SearchOptions options;
    options.enumerate_up_to = 0;
    options.population = 24;
    options.generations = 40;
    const SearchHooks hooks{.scout = [&] {
      EvaluationCache scout(fake);
      return MeasureLayerLosses(TableOf(five, std::vector(3, std::vector<double>(5, 0.0))), scout);
    }};
    const SearchResult result = Search(TimedProblem(3, five), cache, options, hooks);
    EXPECT_FALSE(result.summary.exhaustive);
    EXPECT_THAT(PlansOf(result.front),
                UnorderedElementsAreArray(FrontByHand(fake, EveryPlan(3, five))));
    EXPECT_LT(cache.distinct_plans(), 126) << interaction;
  }
}

TEST(TimedSearch, EveryAlgorithmThatTakesThreeObjectivesLeavesAFront) {
  for (const Algorithm algorithm :
       {Algorithm::kNsga2, Algorithm::kMoead, Algorithm::kRandom, Algorithm::kIlp}) {
    FakeEvaluator fake({5, 1, 0.2, 3, 0.7, 0.05}, 1);
    EvaluationCache cache(fake);
    SearchOptions options;
    options.algorithm = algorithm;
    options.generations = 4;
    const SearchHooks hooks{.scout = [] { return TrueLosses({5, 1, 0.2, 3, 0.7, 0.05}); }};
    const SearchResult result = Search(TimedProblem(6, NinePairs()), cache, options, hooks);
    EXPECT_GT(result.front.size(), 10u);
    EXPECT_GT(cache.distinct_plans(), 30);
    for (const ScoredPlan& member : result.front) {
      const Objectives of_member =
          ObjectivesFor(member.calibration.kl_mean, TimedCost(member.plan));
      EXPECT_EQ(member.cost.latency_ms, of_member.milliseconds);
      for (const PrecisionPlan& plan : cache.plans()) {
        if (!cache.ScoreOf(plan).complete()) continue;
        EXPECT_FALSE(
            Dominates(ObjectivesFor(cache.ScoreOf(plan).kl_mean, TimedCost(plan)), of_member));
      }
    }
    double volume = 0;
    for (const GenerationReport& report : result.summary.generations) {
      EXPECT_GE(report.hypervolume, volume);
      volume = report.hypervolume;
    }
    EXPECT_GT(volume, 0);
  }
}

TEST(TimedSearch, NearPlansAreThoseThatNoFasterPlanExplains) {
  FakeEvaluator fake(kTimedWeights);
  EvaluationCache cache(fake);
  SearchOptions options;
  options.exact = true;
  const SearchResult result = Search(TimedProblem(3, NinePairs()), cache, options);
  for (const ScoredPlan& plan : result.near) {
    double least = std::numeric_limits<double>::infinity();
    for (const ScoredPlan& member : result.front) {
      if (TakesNoMore(member.cost, plan.cost)) least = std::min(least, LossOf(member.calibration));
    }
    EXPECT_LE(LossOf(plan.calibration), kNearFactor * least);
  }
}

// A rival that is smaller and better, but slower, does not end a plan.
TEST(TimedSearch, RacingEndsNoPlanThatIsFasterThanItsRivals) {
  FakeEvaluator fake({1, 1}, 0, 64);
  // K4V8 loses more than KV8, which takes more bytes: only K8V4, of the bytes of K4V8, beats it.
  const std::vector<PrecisionPlan> plans = {{{kK4V8, kK4V8}}, {{kK8V4, kK8V4}}};
  ASSERT_GT(fake.ScoreOf(plans[0]).kl_mean, fake.ScoreOf(plans[1]).kl_mean);
  EvaluationCache by_bytes(fake), by_time(fake);
  EXPECT_FALSE(by_bytes.Race(plans, FakeCost, {})[0].complete());
  ASSERT_LT(TimedCost(plans[0]).latency_ms, TimedCost(plans[1]).latency_ms);
  EXPECT_TRUE(by_time.Race(plans, TimedCost, {})[0].complete());
}

TEST(TimedSearch, TheSurrogatesFrontIsAPartOfTheRealOneAndHoldsThatOfBytes) {
  const LayerLosses losses = TrueLosses(kTimedWeights);
  FakeEvaluator fake(kTimedWeights);
  const std::vector<PrecisionPlan> real = FrontByHand(fake, EveryPlan(3, NinePairs()));
  const std::vector<PrecisionPlan> timed = SurrogateFront(losses, TimedCost);
  for (const PrecisionPlan& plan : timed) EXPECT_EQ(std::ranges::count(real, plan), 1);
  for (const PrecisionPlan& plan : SurrogateFront(losses, FakeCost)) {
    // A plan of the same loss and bytes, and perhaps less time.
    EXPECT_TRUE(std::ranges::any_of(timed, [&](const PrecisionPlan& other) {
      return PredictLoss(losses, other) <= PredictLoss(losses, plan) * (1 + 1e-12) &&
             TimedCost(other).bytes_per_token <= TimedCost(plan).bytes_per_token;
    })) << PlanSpec(plan);
  }
  EXPECT_GT(timed.size(), real.size() / 3);
  const auto fastest = std::ranges::min_element(
      timed, {}, [](const PrecisionPlan& plan) { return *TimedCost(plan).latency_ms; });
  EXPECT_EQ(*TimedCost(*fastest).latency_ms, 3 * FakeMilliseconds(kK2V4));
}

// Of the bytes of the only scored plan but faster, which two objectives would not look at.
TEST(TimedSearch, TheRefinementProposesPlansThatAreOnlyFaster) {
  const LayerLosses losses = TrueLosses({1, 1});
  FakeEvaluator fake({1, 1});
  const PrecisionPlan slow{{kK8V4, kK8V4}};
  const std::vector<PrecisionPlan> plans = {slow};
  const std::vector<Objectives> objectives = {
      ObjectivesFor(LogLoss(fake.ScoreOf(slow).kl_mean), TimedCost(slow))};
  const PlanShape shape;
  const std::vector<PrecisionPlan> proposed =
      ProposePlans(losses, TimedCost, {plans, objectives, {1, 1e6, 100}, shape}, 400);
  const PrecisionPlan faster{{kK4V8, kK8V4}};
  ASSERT_EQ(TimedCost(faster).bytes_per_token, TimedCost(slow).bytes_per_token);
  ASSERT_LT(TimedCost(faster).latency_ms, TimedCost(slow).latency_ms);
  EXPECT_TRUE(std::ranges::any_of(proposed, [&](const PrecisionPlan& plan) {
    return TimedCost(plan).bytes_per_token == TimedCost(slow).bytes_per_token &&
           TimedCost(plan).latency_ms < TimedCost(slow).latency_ms;
  }));
}

}  // namespace
}  // namespace kvtune
