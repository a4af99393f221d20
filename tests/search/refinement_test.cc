#include "search/refinement.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "tests/support/fake_evaluator.h"
#include "tests/support/test_data.h"

namespace kvtune {
namespace {

using ::testing::Contains;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::SizeIs;

// Additive losses of layers with these weights; the surrogate can know them exactly.
LayerLosses TrueLosses(const std::vector<double>& weights) {
  LayerLosses losses;
  losses.pairs = NinePairs();
  for (const double weight : weights) {
    losses.losses.emplace_back();
    for (const PrecisionPair pair : losses.pairs) {
      losses.losses.back().push_back(weight * FakePairError(pair));
    }
  }
  return losses;
}

// Plans with the scores that a FakeEvaluator gives them.
struct Space {
  explicit Space(std::vector<double> weights) : fake(std::move(weights)) {}

  void Add(const PrecisionPlan& plan) {
    plans.push_back(plan);
    objectives.push_back(
        {std::log10(fake.ScoreOf(plan).kl_mean), FakeCost(plan).bytes_per_token});
  }
  ScoredSpace scored() const { return {plans, objectives, {1, 1e6}, shape}; }

  FakeEvaluator fake;
  PlanShape shape;
  std::vector<PrecisionPlan> plans;
  std::vector<Objectives> objectives;
};

const std::vector<double> kWeights = {30, 1, 3, 0.1, 1, 10};

Space UniformSpace() {
  Space space(kWeights);
  for (const PrecisionPair pair : NinePairs()) space.Add(PrecisionPlan::Uniform(pair, 6));
  return space;
}

TEST(ProposePlansTest, ProposesNewPlansOnceEach) {
  const Space space = UniformSpace();
  std::vector<PrecisionPlan> proposals =
      ProposePlans(TrueLosses(kWeights), FakeCost, space.scored(), 20);
  EXPECT_THAT(proposals, SizeIs(20));
  for (const PrecisionPlan& plan : space.plans) EXPECT_THAT(proposals, Not(Contains(plan)));
  std::sort(proposals.begin(), proposals.end());
  EXPECT_EQ(std::unique(proposals.begin(), proposals.end()), proposals.end());
}

TEST(ProposePlansTest, PredictionsThatHoldAllReachTheFront) {
  // With the true losses whatever is promised is kept.
  Space space = UniformSpace();
  const std::vector<PrecisionPlan> proposals =
      ProposePlans(TrueLosses(kWeights), FakeCost, space.scored(), 8);
  for (const PrecisionPlan& plan : proposals) {
    const size_t before = space.objectives.size();
    space.Add(plan);
    EXPECT_THAT(NonDominated(space.objectives), Contains(before)) << PlanSpec(plan);
  }
}

TEST(ProposePlansTest, WidestGapIsFilledFirst) {
  // The front of the true losses, but for a stretch in the middle.
  Space space(kWeights);
  const LayerLosses losses = TrueLosses(kWeights);
  const std::vector<PrecisionPlan> front = SurrogateFront(losses, FakeCost);
  const size_t begin = front.size() / 3, end = 2 * front.size() / 3;
  for (size_t i = 0; i < front.size(); ++i) {
    if (i < begin || i >= end) space.Add(front[i]);
  }
  const std::vector<PrecisionPlan> proposals = ProposePlans(losses, FakeCost, space.scored(), 1);
  ASSERT_THAT(proposals, SizeIs(1));
  EXPECT_GT(FakeCost(proposals[0]).bytes_per_token, FakeCost(front[begin - 1]).bytes_per_token);
  EXPECT_LT(FakeCost(proposals[0]).bytes_per_token, FakeCost(front[end]).bytes_per_token);
}

TEST(ProposePlansTest, NothingIsLeftOnceTheWholeFrontIsScored) {
  Space space(kWeights);
  const LayerLosses losses = TrueLosses(kWeights);
  for (const PrecisionPlan& plan : SurrogateFront(losses, FakeCost)) space.Add(plan);
  EXPECT_THAT(ProposePlans(losses, FakeCost, space.scored(), 10), IsEmpty());
}

TEST(ProposePlansTest, MovesFindASwapWhereTheSurrogateIsWrongOverall) {
  // The surrogate overrates all losses so much that nothing on its own front seems worth a try;
  // moves around the scored plans do not depend on its scale.
  const std::vector<double> weights = {1, 1, 100};
  Space space(weights);
  for (const PrecisionPair pair : NinePairs()) space.Add(PrecisionPlan::Uniform(pair, 3));
  const PrecisionPlan parent = {{kKV8, kKV4, kKV4}};  // layer 2 should have the bits
  space.Add(parent);
  LayerLosses losses = TrueLosses(weights);
  for (std::vector<double>& layer : losses.losses) {
    for (double& loss : layer) loss *= 1e6;
  }
  EXPECT_THAT(ProposePlans(losses, FakeCost, space.scored(), 20),
              Contains(PrecisionPlan{{kKV4, kKV4, kKV8}}));
}

}  // namespace
}  // namespace kvtune
