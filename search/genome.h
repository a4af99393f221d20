// How a plan of the grouped space is written as integer genes, in the shape that the target can
// run.
//
//   any pair:            one gene for each group: the pair of its layers
//   one pair:            one gene: the pair of all layers
//   one pair and exact:  the same gene, and one for each group: whether its layers are exact
//   runs:                five genes for each side: the middle, the first and the last format, and
//                        how many layers take the first and how many the last (runs cut through
//                        groups, so the groups play no part)
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "lib/core/layer_groups.h"
#include "lib/core/plan_shape.h"
#include "lib/core/precision_plan.h"

namespace kvtune {

// For every gene the index of its choice; 0 is the choice with most bits (or fewest layers).
using Genes = std::vector<int>;

// Where there is only one choice there is no gene: it is the same in every plan, and NSGA-II
// refuses genes with one choice.
class Genome {
 public:
  // The genes choose among the groups' candidates that the shape allows and, where the shape mixes
  // exact layers with others, the exact pair. REQUIRES: every layer is in exactly one group, and
  // every group has a candidate that the shape allows.
  explicit Genome(const LayerGroups& groups, PlanShape shape = {});

  const PlanShape& shape() const { return shape_; }
  size_t layer_count() const { return layer_count_; }
  size_t gene_count() const { return choices_.size(); }
  // The number of choices per gene, each at least 2.
  const std::vector<int>& choices() const { return choices_; }
  // How many different genes there are, or INT64_MAX when there are more. In the shape kRuns there
  // are fewer plans than genes, because several genes can mean the same plan.
  int64_t space_size() const;
  // How many genes at the front decide what the others mean; for kRuns that is all of them. Each
  // gene behind them changes only layers of its own, so that what those genes lose and cost adds
  // up.
  size_t leading_genes() const { return leading_genes_; }
  // The formats that the genes of the shape kRuns choose from.
  const std::vector<KvFormatId>& run_formats(KvSide side) const {
    return side == KvSide::kKey ? key_formats_ : value_formats_;
  }

  // Returns a plan that the shape allows, whatever the genes. REQUIRES: genes.size() ==
  // gene_count(), each in range.
  PrecisionPlan Decode(std::span<const int> genes) const;

  // The genes whose plan is nearest to any given one by DistanceOf, summed over all layers; ties go
  // to most bits. A plan of the space gives genes that decode to it. REQUIRES: plan.layers.size()
  // == layer_count().
  Genes Project(const PrecisionPlan& plan) const;

  // Changes `genes` to the next ones in the space; the last gene changes fastest. Starting from all
  // zeros, this visits the whole space. Returns false after the last genes.
  bool Next(Genes& genes) const;

 private:
  // Every choice that a plan needs, including those that have no gene because there is only one
  // option.
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
  std::vector<PrecisionPair> pairs_;  // choices of the shapes kOnePair and kOnePairAndExact
  std::vector<KvFormatId> key_formats_, value_formats_;
  std::vector<size_t> slot_of_gene_;
  std::vector<int> choices_;
  size_t slot_count_ = 0;
  size_t leading_genes_ = 0;
  size_t layer_count_ = 0;
};

}  // namespace kvtune
