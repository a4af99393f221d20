#include "lib/runner/plan_tree.h"

#include <gtest/gtest.h>

namespace kvtune {
namespace {

constexpr PrecisionPair k8{KvFormatId::kInt8, KvFormatId::kInt8};
constexpr PrecisionPair k4{KvFormatId::kInt4, KvFormatId::kInt4};
constexpr PrecisionPair k8v4{KvFormatId::kInt8, KvFormatId::kInt4};

TEST(PlanTree, PlansShareTheirCommonPrefixOnly) {
  const std::vector<PrecisionPlan> plans = {
      {{k8, k4, k4}}, {{k8, k4, k8}}, {{k4, k4, k4}}, {{k8, k4, k4}}};
  const PlanTree tree = BuildPlanTree(plans);
  ASSERT_EQ(tree.layers.size(), 3u);
  EXPECT_EQ(tree.layers[0].size(), 2u);
  EXPECT_EQ(tree.layers[1].size(), 2u);
  EXPECT_EQ(tree.layers[2].size(), 3u);
  EXPECT_EQ(tree.node_count(), 7u);
  EXPECT_EQ(tree.leaf_of_plan[0], tree.leaf_of_plan[3]);
  EXPECT_NE(tree.leaf_of_plan[0], tree.leaf_of_plan[1]);
}

TEST(PlanTree, WalkingUpFromALeafGivesThePlan) {
  const std::vector<PrecisionPlan> plans = {
      {{k8, k8v4, k4}}, {{k4, k8, k8v4}}, {{k8, k8, k8}}, {{k8, k8v4, k8}}};
  const PlanTree tree = BuildPlanTree(plans);
  for (size_t i = 0; i < plans.size(); ++i) {
    size_t node = tree.leaf_of_plan[i];
    for (size_t layer = 3; layer-- > 0;) {
      EXPECT_EQ(tree.layers[layer][node].pair, plans[i].layers[layer]);
      node = tree.layers[layer][node].parent;
    }
  }
}

TEST(PlanTree, SiblingsOfOneKeyFormatAreNeighbours) {
  const std::vector<PrecisionPlan> plans = {{{k8}}, {{k4}}, {{k8v4}}};
  const PlanTree tree = BuildPlanTree(plans);
  EXPECT_EQ(tree.layers[0][0].pair.key, tree.layers[0][1].pair.key);
}

TEST(PlanTree, IsRepeatedPromptByPrompt) {
  const std::vector<PrecisionPlan> plans = {{{k8, k4}}, {{k4, k4}}, {{k8, k8}}};
  const PlanTree tree = BuildPlanTree(plans);
  constexpr size_t kPrompts = 3;
  size_t parents = 1;
  for (const PlanTreeLayer& nodes : tree.layers) {
    const PlanTreeLayer repeated = RepeatedLayer(nodes, parents, kPrompts);
    ASSERT_EQ(repeated.size(), kPrompts * nodes.size());
    for (size_t i = 0; i < repeated.size(); ++i) {
      const size_t prompt = i / nodes.size(), node = i % nodes.size();
      EXPECT_EQ(repeated[i].parent, prompt * parents + nodes[node].parent);
      EXPECT_EQ(repeated[i].pair, nodes[node].pair);
    }
    parents = nodes.size();
  }
}

}  // namespace
}  // namespace kvtune
