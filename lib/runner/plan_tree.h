// A population of plans as a prefix tree over layers. Plans that agree on their first layers share
// the work of these layers.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "lib/core/precision_plan.h"

namespace kvtune {

// One distinct prefix of the plans that ends at this layer.
struct PlanTreeNode {
  size_t parent = 0;   // index into the previous layer's nodes; 0 (the root) for layer 0
  PrecisionPair pair;  // what this layer stores
};

// The nodes of one layer, ordered by parent and then by key format, so that the nodes that share
// attention weights are neighbours.
using PlanTreeLayer = std::vector<PlanTreeNode>;

struct PlanTree {
  std::vector<PlanTreeLayer> layers;
  std::vector<size_t> leaf_of_plan;  // for each plan, its index into the last layer's nodes

  // Returns how many layer passes the tree needs. Without sharing it would be plans times layers.
  size_t node_count() const;
};

// REQUIRES: plans is not empty; all plans have the same, non-zero number of layers.
PlanTree BuildPlanTree(std::span<const PrecisionPlan> plans);
// Returns the layer of a tree that holds the same plans for several prompts, one prompt's nodes
// behind another's. `parents` is the number of nodes of the previous layer, for one prompt.
PlanTreeLayer RepeatedLayer(const PlanTreeLayer& nodes, size_t parents, size_t prompts);
// Whether node i is the only child of parent i, for all of them.
bool AreOnlyChildren(const PlanTreeLayer& nodes, size_t parents);

// Builds the tree without any sharing: every plan has a chain of its own.
PlanTree BuildPlanChains(std::span<const PrecisionPlan> plans);

}  // namespace kvtune
