// How a plan of the grouped space is written as integer genes: one gene per group with a choice.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "lib/core/layer_groups.h"
#include "lib/core/precision_plan.h"

namespace kvtune {

// For every gene the index of a candidate of its group, 0 = most bits.
using Genes = std::vector<int>;

// Groups with one candidate have no gene: their layers are the same in every plan, and nsga2
// refuses a gene with one choice.
class Genome {
 public:
  // REQUIRES: every layer is in exactly one group, and every group has a candidate.
  explicit Genome(const LayerGroups& groups);

  size_t layer_count() const { return layer_count_; }
  size_t gene_count() const { return choices_.size(); }
  // The number of candidates per gene, each at least 2.
  const std::vector<int>& choices() const { return choices_; }
  // How many plans can be written; INT64_MAX when there are more.
  int64_t space_size() const;

  // REQUIRES: genes.size() == gene_count(), each in range.
  PrecisionPlan Decode(std::span<const int> genes) const;

  // The genes nearest to any plan: per group the candidate with the smallest sum of squared
  // differences in nominal bits over its layers and sides, then with the most layers unchanged,
  // then with the most bits. A plan of the space gives its own genes. REQUIRES: plan.layers.size()
  // == layer_count().
  Genes Project(const PrecisionPlan& plan) const;

  // Steps through the space from all zeros, last gene fastest; false after the last genes.
  bool Next(Genes& genes) const;

 private:
  int Nearest(const LayerGroup& group, const PrecisionPlan& plan) const;

  std::vector<LayerGroup> groups_;
  std::vector<size_t> group_of_gene_;
  std::vector<int> choices_;
  size_t layer_count_ = 0;
};

}  // namespace kvtune
