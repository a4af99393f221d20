#include "lib/runner/plan_tree.h"

#include <map>
#include <utility>

namespace kvtune {

size_t PlanTree::node_count() const {
  size_t count = 0;
  for (const PlanTreeLayer& layer : layers) count += layer.size();
  return count;
}

PlanTree BuildPlanTree(std::span<const PrecisionPlan> plans) {
  PlanTree tree;
  tree.leaf_of_plan.assign(plans.size(), 0);
  const size_t layer_count = plans.front().layers.size();
  for (size_t layer = 0; layer < layer_count; ++layer) {
    // The map is ordered, so it gives the children the order of PlanTreeLayer: by parent, then key
    // format, then value format.
    std::map<std::pair<size_t, PrecisionPair>, size_t> children;
    for (size_t i = 0; i < plans.size(); ++i)
      children[{tree.leaf_of_plan[i], plans[i].layers[layer]}] = 0;
    PlanTreeLayer nodes;
    for (auto& [prefix, index] : children) {
      index = nodes.size();
      nodes.push_back({prefix.first, prefix.second});
    }
    for (size_t i = 0; i < plans.size(); ++i) {
      tree.leaf_of_plan[i] = children.at({tree.leaf_of_plan[i], plans[i].layers[layer]});
    }
    tree.layers.push_back(std::move(nodes));
  }
  return tree;
}

PlanTreeLayer RepeatedLayer(const PlanTreeLayer& nodes, size_t parents, size_t prompts) {
  PlanTreeLayer repeated;
  repeated.reserve(nodes.size() * prompts);
  for (size_t prompt = 0; prompt < prompts; ++prompt) {
    for (const PlanTreeNode& node : nodes)
      repeated.push_back({prompt * parents + node.parent, node.pair});
  }
  return repeated;
}

bool AreOnlyChildren(const PlanTreeLayer& nodes, size_t parents) {
  if (nodes.size() != parents) return false;
  for (size_t i = 0; i < nodes.size(); ++i) {
    if (nodes[i].parent != i) return false;
  }
  return true;
}

PlanTree BuildPlanChains(std::span<const PrecisionPlan> plans) {
  PlanTree tree;
  for (size_t i = 0; i < plans.size(); ++i) tree.leaf_of_plan.push_back(i);
  for (size_t layer = 0; layer < plans.front().layers.size(); ++layer) {
    PlanTreeLayer& nodes = tree.layers.emplace_back();
    for (size_t i = 0; i < plans.size(); ++i)
      nodes.push_back({layer == 0 ? 0 : i, plans[i].layers[layer]});
  }
  return tree;
}

}  // namespace kvtune
