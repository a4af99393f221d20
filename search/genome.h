// How a plan of the grouped space is written as integer genes, in the shape that the target can
// run.
//
//   any pair:            one gene a group, its pair
//   one pair:            one gene, the pair of all layers
//   one pair and exact:  the same, and one gene a group, exact or not
//   runs:                for each side five genes: middle, first and last format, how many layers
//   are
//                        first and how many last (runs cut through groups, so groups play no part)
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "lib/core/layer_groups.h"
#include "lib/core/plan_shape.h"
#include "lib/core/precision_plan.h"

namespace kvtune {

// For every gene the index of a choice, 0 = most bits (or fewest layers).
using Genes = std::vector<int>;

// What has one choice has no gene: it is the same in every plan, and nsga2 refuses such a gene.
class Genome {
 public:
  // Offers the groups' candidates that the shape has and, where it mixes exact layers with others,
  // the exact pair. REQUIRES: every layer is in exactly one group, and every group has such a
  // candidate.
  explicit Genome(const LayerGroups& groups, PlanShape shape = {});

  const PlanShape& shape() const { return shape_; }
  size_t layer_count() const { return layer_count_; }
  size_t gene_count() const { return choices_.size(); }
  // The number of choices per gene, each at least 2.
  const std::vector<int>& choices() const { return choices_; }
  // How many genes there are; INT64_MAX when there are more. In runs several stand for one plan.
  int64_t space_size() const;
  // So many genes at the front decide what the others mean; those behind change layers of their
  // own.
  size_t leading_genes() const { return leading_genes_; }
  // Of kRuns: the formats that its genes choose from.
  const std::vector<KvFormatId>& run_formats(KvSide side) const {
    return side == KvSide::kKey ? key_formats_ : value_formats_;
  }

  // Always a plan that the shape allows. REQUIRES: genes.size() == gene_count(), each in range.
  PrecisionPlan Decode(std::span<const int> genes) const;

  // The genes nearest to any plan by DistanceOf, then with most bits; groups weigh by their layers.
  // A plan of the space gives genes that decode to it. REQUIRES: plan.layers.size() ==
  // layer_count().
  Genes Project(const PrecisionPlan& plan) const;

  // Steps through the space from all zeros, last gene fastest; false after the last genes.
  bool Next(Genes& genes) const;

 private:
  // A choice that a plan needs, with a gene or without.
  using Slots = std::vector<int>;

  void CollectPairs();
  void AddSlot(size_t choices);
  Slots SlotsOf(std::span<const int> genes) const;
  Genes GenesOf(const Slots& slots) const;
  Slots NearestGroups(const PrecisionPlan& plan) const;
  Slots NearestPair(const PrecisionPlan& plan) const;
  Slots NearestRunSlots(const PrecisionPlan& plan) const;
  SideRuns RunsOf(std::span<const int> slots, KvSide side) const;

  PlanShape shape_;
  std::vector<LayerGroup> groups_;
  std::vector<PrecisionPair> pairs_;  // of kOnePair and kOnePairAndExact
  std::vector<KvFormatId> key_formats_, value_formats_;
  std::vector<size_t> slot_of_gene_;
  std::vector<int> choices_;
  size_t slot_count_ = 0;
  size_t leading_genes_ = 0;
  size_t layer_count_ = 0;
};

}  // namespace kvtune
