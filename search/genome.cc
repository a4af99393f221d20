#include "search/genome.h"

#include <limits>
#include <utility>

namespace kvtune {
namespace {

// Squared, so that layers that want opposite ends meet in the middle.
int64_t Distance(KvFormatId a, KvFormatId b) {
  const int64_t bits = FormatOf(a).bits - FormatOf(b).bits;
  return bits * bits;
}

}  // namespace

Genome::Genome(const LayerGroups& groups) : groups_(groups.groups) {
  for (size_t i = 0; i < groups_.size(); ++i) {
    layer_count_ += groups_[i].layers.size();
    if (groups_[i].candidates.size() < 2) continue;
    group_of_gene_.push_back(i);
    choices_.push_back(static_cast<int>(groups_[i].candidates.size()));
  }
}

int64_t Genome::space_size() const {
  int64_t size = 1;
  for (const int choices : choices_) {
    if (size > std::numeric_limits<int64_t>::max() / choices) {
      return std::numeric_limits<int64_t>::max();
    }
    size *= choices;
  }
  return size;
}

PrecisionPlan Genome::Decode(std::span<const int> genes) const {
  PrecisionPlan plan = PrecisionPlan::Uniform(kExactPair, layer_count_);
  size_t gene = 0;
  for (size_t i = 0; i < groups_.size(); ++i) {
    const bool has_gene = gene < group_of_gene_.size() && group_of_gene_[gene] == i;
    const size_t choice = has_gene ? static_cast<size_t>(genes[gene++]) : 0;
    for (const size_t layer : groups_[i].layers) plan.layers[layer] = groups_[i].candidates[choice];
  }
  return plan;
}

int Genome::Nearest(const LayerGroup& group, const PrecisionPlan& plan) const {
  int nearest = 0;
  std::pair<int64_t, int64_t> smallest = {std::numeric_limits<int64_t>::max(), 0};
  for (size_t choice = 0; choice < group.candidates.size(); ++choice) {
    const PrecisionPair candidate = group.candidates[choice];
    std::pair<int64_t, int64_t> difference = {0, 0};  // bits squared, layers
    for (const size_t layer : group.layers) {
      const PrecisionPair wanted = plan.layers[layer];
      difference.first +=
          Distance(candidate.key, wanted.key) + Distance(candidate.value, wanted.value);
      difference.second += candidate != wanted;
    }
    if (difference < smallest) {
      smallest = difference;
      nearest = static_cast<int>(choice);
    }
  }
  return nearest;
}

Genes Genome::Project(const PrecisionPlan& plan) const {
  Genes genes;
  for (const size_t group : group_of_gene_) genes.push_back(Nearest(groups_[group], plan));
  return genes;
}

bool Genome::Next(Genes& genes) const {
  for (size_t i = genes.size(); i > 0; --i) {
    if (++genes[i - 1] < choices_[i - 1]) return true;
    genes[i - 1] = 0;
  }
  return false;
}

}  // namespace kvtune
