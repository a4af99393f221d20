// Plans as a prefix tree over layers: plans that agree on their first layers share that work.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "lib/core/precision_plan.h"

namespace kvtune {

// One distinct prefix of plans that ends at this layer.
struct PlanTreeNode {
  size_t parent = 0;   // index into the previous layer's nodes (0 = the root, before layer 0)
  PrecisionPair pair;  // what this layer stores
};

// Nodes of one layer, ordered by parent, then by key format, so that neighbours share attention
// weights.
using PlanTreeLayer = std::vector<PlanTreeNode>;

struct PlanTree {
  std::vector<PlanTreeLayer> layers;
  std::vector<size_t> leaf_of_plan;  // index into the last layer's nodes, one per plan

  // Layer passes that the tree needs, against plans times layers without sharing.
  size_t node_count() const;
};

// REQUIRES: plans is not empty; all plans have the same, non-zero number of layers.
PlanTree BuildPlanTree(std::span<const PrecisionPlan> plans);
// The same without any sharing: a chain of its own for every plan.
PlanTree BuildPlanChains(std::span<const PrecisionPlan> plans);

}  // namespace kvtune
