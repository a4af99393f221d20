#include "search/additive_plans.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "search/pareto.h"
#include "tests/support/fake_evaluator.h"
#include "tests/support/test_data.h"

namespace kvtune {
namespace {

using ::testing::ElementsAre;
using ::testing::SizeIs;

LayerGroups TwoGroups() {
  LayerGroups groups;
  groups.groups = {{{0, 2}, {kKV8, kKV4, kKV2}}, {{1}, {kKV8, kKV4}}};
  return groups;
}

const LayerLosses kLosses = {{kKV8, kKV4, kKV2}, {{1, 3, 9}, {2, 4, 5}, {1, 4, 20}}};

// The group of two layers saves 128 bytes for a loss of 5 on its first step, the other one 64
// for 2.
TEST(AdditivePlans, GreedyTakesTheCheapestStepFirst) {
  const Genome genome(TwoGroups());
  const std::vector<PrecisionPlan> plans = GreedyPlans(genome, kLosses, FakeCost);
  ASSERT_THAT(plans, SizeIs(4));
  EXPECT_THAT(plans[0].layers, ElementsAre(kKV8, kKV8, kKV8));
  EXPECT_THAT(plans[1].layers, ElementsAre(kKV8, kKV4, kKV8));
  EXPECT_THAT(plans[2].layers, ElementsAre(kKV4, kKV4, kKV4));
  EXPECT_THAT(plans[3].layers, ElementsAre(kKV2, kKV4, kKV2));
}

// The group of two layers loses more, 3 against 2, and yet less a byte: it saves 128, the other 64.
TEST(AdditivePlans, GreedyDividesTheLossByTheBytesThatItSaves) {
  LayerGroups groups;
  groups.groups = {{{0, 2}, {kKV8, kKV4}}, {{1}, {kKV8, kKV4}}};
  const LayerLosses losses = {{kKV8, kKV4}, {{1, 3}, {2, 4}, {1, 2}}};
  const std::vector<PrecisionPlan> plans = GreedyPlans(Genome(groups), losses, FakeCost);
  ASSERT_THAT(plans, SizeIs(3));
  EXPECT_THAT(plans[1].layers, ElementsAre(kKV4, kKV8, kKV4));
  EXPECT_THAT(plans[2].layers, ElementsAre(kKV4, kKV4, kKV4));
}

// The engine keeps two layers exact at either end of KV4, so that four exact layers make KV4 larger
// than KV8 is in all six layers. The descent takes KV4 while layer 2 alone is quantized and goes
// back to KV8 once all layers are.
TEST(AdditivePlans, GreedyGoesBackToAnEarlierChoiceThatSavesBytes) {
  LayerGroups groups;
  groups.groups = {{{2}, {kKV8, kKV4}}, {{0, 1, 3, 4, 5}, {kKV8, kKV4}}};
  LayerLosses losses = {{kKV8, kKV4}, std::vector(6, std::vector{10.0, 20.0})};
  losses.losses[2] = {1, 1.5};
  const Genome genome(groups, {ShapeKind::kOnePairAndExact, {kKV8, kKV4}, {kKV4}, 2});
  std::vector<std::string> specs;
  for (const PrecisionPlan& plan : GreedyPlans(genome, WithExactPair(losses), FakeCost))
    specs.push_back(PlanSpec(plan));
  EXPECT_THAT(specs, ElementsAre("exact", "exact;2:KV8", "exact;2:KV4", "exact;2-3:KV4", "KV8"));
}

// Two layers that lose the same.
LayerGroups AlikeGroups() {
  LayerGroups groups;
  groups.groups = {{{0}, {kKV8, kKV4}}, {{1}, {kKV8, kKV4}}};
  return groups;
}
const LayerLosses kAlikeLosses = {{kKV8, kKV4}, {{1, 3}, {1, 3}}};

TEST(AdditivePlans, GreedyTakesTheFirstOfEqualSteps) {
  const std::vector<PrecisionPlan> plans =
      GreedyPlans(Genome(AlikeGroups()), kAlikeLosses, FakeCost);
  ASSERT_THAT(plans, SizeIs(3));
  EXPECT_THAT(plans[1].layers, ElementsAre(kKV4, kKV8));
}

TEST(AdditivePlans, AdditiveFrontIsTheEnumeratedOne) {
  const Genome genome(TwoGroups());
  std::vector<PrecisionPlan> all;
  std::vector<Objectives> objectives;
  Genes genes(genome.gene_count(), 0);
  do {
    all.push_back(genome.Decode(genes));
    objectives.push_back({PredictLoss(kLosses, all.back()), FakeCost(all.back()).bytes_per_token});
  } while (genome.Next(genes));
  std::vector<PrecisionPlan> expected;
  for (const size_t i : NonDominated(objectives)) expected.push_back(all[i]);
  EXPECT_EQ(AdditiveFront(genome, kLosses, FakeCost), expected);
}

TEST(AdditivePlans, OfPlansOfEqualLossAndBytesTheFrontHasOne) {
  const std::vector<PrecisionPlan> front =
      AdditiveFront(Genome(AlikeGroups()), kAlikeLosses, FakeCost);
  ASSERT_THAT(front, SizeIs(3));
  EXPECT_EQ(PredictLoss(kAlikeLosses, front[1]), 4);
  // Nor has it a larger plan that loses as much as a smaller one.
  const LayerLosses flat = {{kKV8, kKV4}, {{1, 1}, {1, 3}}};
  const std::vector<PrecisionPlan> of_flat = AdditiveFront(Genome(AlikeGroups()), flat, FakeCost);
  ASSERT_THAT(of_flat, SizeIs(2));
  EXPECT_THAT(of_flat[1].layers, ElementsAre(kKV4, kKV8));
}

std::vector<PrecisionPlan> Enumerated(const Genome& genome, const LayerLosses& losses) {
  std::vector<PrecisionPlan> all;
  std::vector<Objectives> objectives;
  Genes genes(genome.gene_count(), 0);
  do {
    all.push_back(genome.Decode(genes));
    objectives.push_back({PredictLoss(losses, all.back()), FakeCost(all.back()).bytes_per_token});
  } while (genome.Next(genes));
  std::vector<PrecisionPlan> front;
  for (const size_t i : NonDominated(objectives)) front.push_back(all[i]);
  return front;
}

TEST(AdditivePlans, FrontOfEveryShapeIsTheEnumeratedOne) {
  // What a layer loses is what its keys and its values do.
  LayerLosses losses = {{kKV8, kK8V4, kK4V8, kKV4}, {}};
  for (const double weight : {1.0, 7.0, 3.0}) {
    losses.losses.push_back({2.5 * weight, 6.0 * weight, 11.25 * weight, 14.75 * weight});
  }
  LayerGroups layers;
  for (size_t i = 0; i < 3; ++i) layers.groups.push_back({{i}, losses.pairs});
  const std::vector<PrecisionPair> two = {kKV8, kKV4};
  for (const PlanShape& shape :
       {PlanShape{ShapeKind::kOnePair, losses.pairs}, PlanShape{ShapeKind::kOnePair, two},
        PlanShape{ShapeKind::kOnePairAndExact, losses.pairs},
        PlanShape{ShapeKind::kOnePairAndExact, two}, PlanShape{ShapeKind::kRuns, losses.pairs}}) {
    const Genome genome(layers, shape);
    const LayerLosses known = genome.shape().mixes_exact_layers() ? WithExactPair(losses) : losses;
    const std::vector<PrecisionPlan> expected = Enumerated(genome, known);
    const std::vector<PrecisionPlan> found = AdditiveFront(genome, known, FakeCost);
    ASSERT_EQ(found.size(), expected.size()) << DescribeShape(genome.shape());
    for (size_t i = 0; i < found.size(); ++i) {
      EXPECT_NEAR(PredictLoss(known, found[i]), PredictLoss(known, expected[i]), 1e-9);
      EXPECT_EQ(FakeCost(found[i]).bytes_per_token, FakeCost(expected[i]).bytes_per_token);
    }
  }
}

TEST(AdditivePlans, SensitivitiesAreTheTablesErrors) {
  const LayerLosses losses = SensitivityLosses(TableOf({kKV8, kKV4}, {{1, 2}, {3, 4}}));
  EXPECT_THAT(losses.losses, ElementsAre(ElementsAre(1, 2), ElementsAre(3, 4)));
}

}  // namespace
}  // namespace kvtune
