#include "search/grouped_proposals.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "tests/support/scored_space.h"

namespace kvtune {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::IsSupersetOf;
using ::testing::Not;

std::vector<PrecisionPlan> Propose(const std::vector<double>& weights,
                                   const std::vector<PrecisionPair>& candidates, size_t count) {
  ScoredByFake scored(weights);
  scored.AddUniform(candidates);
  return ProposeGroupedPlans(Genome(OneLayerGroups(weights.size(), candidates)),
                             TrueLosses(weights), FakeCost, scored.space(), count);
}

TEST(GroupedProposals, PlanBehindTheFrontIsProposedOnlyWhereThePredictionMayBeWrong) {
  // Both mixed plans have the same bytes. At a tenth of the loss nothing but the surrogate's front
  // is worth a score; 0.04 decades behind it a plan may be the better one.
  const PrecisionPlan spares_first{{kKV8, kKV4}}, spares_second{{kKV4, kKV8}};
  EXPECT_THAT(Propose({10, 1}, {kKV8, kKV4}, 4), ElementsAre(spares_first));
  EXPECT_THAT(Propose({1.1, 1}, {kKV8, kKV4}, 4), ElementsAre(spares_first, spares_second));
}

TEST(GroupedProposals, NothingIsLeftOfASpaceThatIsScored) {
  EXPECT_THAT(Propose({1}, {kKV8, kKV4, kKV2}, 4), IsEmpty());
}

TEST(GroupedProposals, MostPromisingOnesComeFirst) {
  const std::vector<double> weights = {30, 1, 3, 0.1, 1, 10};
  const std::vector<PrecisionPlan> all = Propose(weights, NinePairs(), 1000);
  ASSERT_GT(all.size(), 20u);
  for (const size_t count : {0, 1, 7, 20}) {
    const auto first = static_cast<ptrdiff_t>(count);
    EXPECT_EQ(Propose(weights, NinePairs(), count), std::vector(all.begin(), all.begin() + first));
  }
  std::vector<PrecisionPlan> sorted = all;
  std::ranges::sort(sorted);
  EXPECT_EQ(std::ranges::adjacent_find(sorted), sorted.end());

  // The first one adds most to what is scored: the surrogate is right here.
  ScoredByFake scored(weights);
  scored.AddUniform(NinePairs());
  const auto with = [&](const PrecisionPlan& plan) {
    ScoredByFake more = scored;
    more.Add(plan);
    return Hypervolume(more.objectives, more.space().reference);
  };
  for (const PrecisionPlan& plan : all) EXPECT_GE(with(all.front()) * (1 + 1e-3), with(plan));
}

TEST(GroupedProposals, ScoresEndInTheWholeFront) {
  const std::vector<double> weights = {5, 1, 20};
  const std::vector<PrecisionPair> three = {kKV8, kKV4, kKV2};
  const Genome genome(OneLayerGroups(3, three));
  ScoredByFake scored(weights);
  scored.AddUniform(three);
  for (int round = 0; round < 10; ++round) {
    for (const PrecisionPlan& plan :
         ProposeGroupedPlans(genome, TrueLosses(weights), FakeCost, scored.space(), 4)) {
      EXPECT_THAT(scored.plans, Not(Contains(plan)));
      scored.Add(plan);
    }
  }
  ScoredByFake whole(weights);
  Genes genes(genome.gene_count(), 0);
  do {
    whole.Add(genome.Decode(genes));
  } while (genome.Next(genes));
  std::vector<PrecisionPlan> front;
  for (const size_t i : NonDominated(whole.objectives)) front.push_back(whole.plans[i]);
  EXPECT_THAT(scored.plans, IsSupersetOf(front));
  EXPECT_LT(scored.plans.size(), whole.plans.size());
}

TEST(GroupedProposals, PlansHaveTheShapeAndItsGroups) {
  std::vector<PrecisionPair> nine_and_exact = NinePairs();
  nine_and_exact.insert(nine_and_exact.begin(), kExactPair);
  const std::vector<PlanShape> shapes = {
      {ShapeKind::kAnyPair, nine_and_exact},
      {ShapeKind::kOnePairAndExact, {kKV8, kKV4, kKV2}},
      {ShapeKind::kOnePairAndExact, {kKV8, kKV4, kKV2}, {kKV4, kKV2}, 1},
      {ShapeKind::kRuns, NinePairs()}};
  const std::vector<double> weights = {30, 1, 3, 0.1};
  LayerGroups groups;
  groups.groups = {{{0, 2}, NinePairs()}, {{1, 3}, NinePairs()}};
  for (const PlanShape& shape : shapes) {
    ScoredByFake scored(weights);
    scored.shape = shape;
    scored.AddUniform({kKV8, kKV4, kKV2});
    const std::vector<PrecisionPlan> proposals = ProposeGroupedPlans(
        Genome(groups, shape), WithExactPair(TrueLosses(weights)), FakeCost, scored.space(), 8);
    EXPECT_FALSE(proposals.empty());
    for (const PrecisionPlan& plan : proposals) {
      EXPECT_EQ(WhyNot(shape, plan), std::nullopt) << PlanSpec(plan);
      if (shape.kind == ShapeKind::kRuns || shape.exact_ends > 0) continue;
      EXPECT_EQ(plan.layers[0], plan.layers[2]);
      EXPECT_EQ(plan.layers[1], plan.layers[3]);
    }
  }
}

}  // namespace
}  // namespace kvtune
