#include "search/refinement.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "search/additive_plans.h"
#include "tests/support/scored_space.h"

namespace kvtune {
namespace {

using ::testing::Contains;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::SizeIs;

const std::vector<double> kWeights = {30, 1, 3, 0.1, 1, 10};

ScoredByFake UniformSpace() {
  ScoredByFake space(kWeights);
  for (const PrecisionPair pair : NinePairs()) space.Add(PrecisionPlan::Uniform(pair, 6));
  return space;
}

TEST(ProposePlans, ProposesNewPlansOnceEach) {
  const ScoredByFake space = UniformSpace();
  std::vector<PrecisionPlan> proposals =
      ProposePlans(TrueLosses(kWeights), FakeCost, space.space(), 20);
  EXPECT_THAT(proposals, SizeIs(20));
  for (const PrecisionPlan& plan : space.plans) EXPECT_THAT(proposals, Not(Contains(plan)));
  std::sort(proposals.begin(), proposals.end());
  EXPECT_EQ(std::unique(proposals.begin(), proposals.end()), proposals.end());
}

TEST(ProposePlans, PredictionsThatHoldAllReachTheFront) {
  // With the true losses whatever is promised is kept.
  ScoredByFake space = UniformSpace();
  const std::vector<PrecisionPlan> proposals =
      ProposePlans(TrueLosses(kWeights), FakeCost, space.space(), 8);
  for (const PrecisionPlan& plan : proposals) {
    const size_t before = space.objectives.size();
    space.Add(plan);
    EXPECT_THAT(NonDominated(space.objectives), Contains(before)) << PlanSpec(plan);
  }
}

TEST(ProposePlans, MovesOfTheFirstLayerAreTriedToo) {
  // All plans that the losses of a single layer recommend are scored, so that only moves of that
  // layer are left. All of them but the best one turned out to be far worse than predicted, which
  // leaves room for the others.
  ScoredByFake space({1});
  const LayerLosses losses = TrueLosses({1});
  for (const PrecisionPlan& plan : SurrogateFront(losses, FakeCost)) space.Add(plan);
  ASSERT_LT(space.plans.size(), NinePairs().size());
  const auto best =
      std::min_element(space.objectives.begin(), space.objectives.end(),
                       [](const Objectives& a, const Objectives& b) { return a.loss < b.loss; });
  for (auto member = space.objectives.begin(); member != space.objectives.end(); ++member) {
    if (member != best) member->loss += 5;
  }
  EXPECT_THAT(ProposePlans(losses, FakeCost, space.space(), 10), Not(IsEmpty()));
}

TEST(ProposePlans, WidestGapIsFilledFirst) {
  // The front of the true losses, but for a stretch in the middle.
  ScoredByFake space(kWeights);
  const LayerLosses losses = TrueLosses(kWeights);
  const std::vector<PrecisionPlan> front = SurrogateFront(losses, FakeCost);
  const size_t begin = front.size() / 3, end = 2 * front.size() / 3;
  for (size_t i = 0; i < front.size(); ++i) {
    if (i < begin || i >= end) space.Add(front[i]);
  }
  const std::vector<PrecisionPlan> proposals = ProposePlans(losses, FakeCost, space.space(), 1);
  ASSERT_THAT(proposals, SizeIs(1));
  EXPECT_GT(FakeCost(proposals[0]).bytes_per_token, FakeCost(front[begin - 1]).bytes_per_token);
  EXPECT_LT(FakeCost(proposals[0]).bytes_per_token, FakeCost(front[end]).bytes_per_token);
}

TEST(ProposePlans, NothingIsLeftOnceTheWholeFrontIsScored) {
  ScoredByFake space(kWeights);
  const LayerLosses losses = TrueLosses(kWeights);
  for (const PrecisionPlan& plan : SurrogateFront(losses, FakeCost)) space.Add(plan);
  EXPECT_THAT(ProposePlans(losses, FakeCost, space.space(), 10), IsEmpty());
}

TEST(ProposePlans, MovesFindASwapWhereTheSurrogateIsWrongOverall) {
  // The surrogate overrates all losses so much that nothing on its own front seems worth a try;
  // moves around the scored plans do not depend on its scale.
  const std::vector<double> weights = {1, 1, 100};
  ScoredByFake space(weights);
  for (const PrecisionPair pair : NinePairs()) space.Add(PrecisionPlan::Uniform(pair, 3));
  const PrecisionPlan parent = {{kKV8, kKV4, kKV4}};  // layer 2 should have the bits
  space.Add(parent);
  LayerLosses losses = TrueLosses(weights);
  for (std::vector<double>& layer : losses.losses) {
    for (double& loss : layer) loss *= 1e6;
  }
  EXPECT_THAT(ProposePlans(losses, FakeCost, space.space(), 20),
              Contains(PrecisionPlan{{kKV4, kKV4, kKV8}}));
}

}  // namespace
}  // namespace kvtune
