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

// The group of two layers saves 128 bytes for a loss of 5 on its first step, the other one 64 for 2.
TEST(AdditivePlansTest, GreedyTakesTheCheapestStepFirst) {
  const Genome genome(TwoGroups());
  const std::vector<PrecisionPlan> plans = GreedyPlans(genome, kLosses, FakeCost);
  ASSERT_THAT(plans, SizeIs(4));
  EXPECT_THAT(plans[0].layers, ElementsAre(kKV8, kKV8, kKV8));
  EXPECT_THAT(plans[1].layers, ElementsAre(kKV8, kKV4, kKV8));
  EXPECT_THAT(plans[2].layers, ElementsAre(kKV4, kKV4, kKV4));
  EXPECT_THAT(plans[3].layers, ElementsAre(kKV2, kKV4, kKV2));
}

TEST(AdditivePlansTest, AdditiveFrontIsTheEnumeratedOne) {
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

TEST(AdditivePlansTest, SensitivitiesAreTheTablesErrors) {
  const LayerLosses losses = SensitivityLosses(TableOf({kKV8, kKV4}, {{1, 2}, {3, 4}}));
  EXPECT_THAT(losses.losses, ElementsAre(ElementsAre(1, 2), ElementsAre(3, 4)));
}

}  // namespace
}  // namespace kvtune
