#include "search/genome.h"

#include <algorithm>
#include <limits>
#include <utility>

namespace kvtune {
namespace {

constexpr PlanDistance kFarthest = {std::numeric_limits<double>::infinity(), 0};
constexpr size_t kSlotsOfSide = 5;  // middle, first, last, first count, last count

// How far the group's layers are from a plan in which all of them take `pair`.
PlanDistance DistanceOfGroup(const LayerGroup& group, PrecisionPair pair, const PrecisionPlan& plan,
                             const PlanShape& shape) {
  PlanDistance distance;
  for (const size_t layer : group.layers) {
    const bool is_exact = shape.keeps_exact(pair, layer, plan.layers.size());
    distance += DistanceOf(is_exact ? kExactPair : pair, plan.layers[layer]);
  }
  return distance;
}

// Those of `formats` that a candidate of any group has. Either all of them are rotated or none,
// like the first one, because rotation is a switch for a whole side.
std::vector<KvFormatId> OfferedFormats(const std::vector<KvFormatId>& formats,
                                       const std::vector<LayerGroup>& groups, KvSide side) {
  std::vector<KvFormatId> offered;
  const auto rotation = [&](KvFormatId id) { return FormatOf(id).layout(side).rotation.kind; };
  for (const KvFormatId id : formats) {
    const auto has_it = [&](PrecisionPair pair) {
      return (side == KvSide::kKey ? pair.key : pair.value) == id;
    };
    const bool kept = std::ranges::any_of(groups, [&](const LayerGroup& group) {
      return std::ranges::any_of(group.candidates, has_it);
    });
    if (kept && (offered.empty() || rotation(id) == rotation(offered.front())))
      offered.push_back(id);
  }
  return offered;
}

int IndexOf(const std::vector<KvFormatId>& formats, KvFormatId id) {
  return static_cast<int>(std::ranges::find(formats, id) - formats.begin());
}

}  // namespace

Genome::Genome(const LayerGroups& groups, PlanShape shape)
    : shape_(std::move(shape)), groups_(groups.groups) {
  for (const LayerGroup& group : groups_) layer_count_ += group.layers.size();
  switch (shape_.kind) {
    case ShapeKind::kAnyPair:
      for (LayerGroup& group : groups_) {
        std::erase_if(group.candidates, [&](PrecisionPair pair) {
          return !shape_.pairs.empty() && !shape_.has(pair);
        });
        if (shape_.mixes_exact_layers() && std::ranges::count(group.candidates, kExactPair) == 0) {
          group.candidates.insert(group.candidates.begin(), kExactPair);
        }
        AddSlot(group.candidates.size());
      }
      break;
    case ShapeKind::kOnePair:
    case ShapeKind::kOnePairAndExact:
      CollectPairs();
      AddSlot(pairs_.size());
      leading_genes_ = gene_count();
      if (shape_.kind == ShapeKind::kOnePair) break;
      for (size_t i = 0; i < groups_.size(); ++i) AddSlot(2);
      break;
    case ShapeKind::kRuns:
      key_formats_ = OfferedFormats(shape_.formats(KvSide::kKey), groups_, KvSide::kKey);
      value_formats_ = OfferedFormats(shape_.formats(KvSide::kValue), groups_, KvSide::kValue);
      for (const KvSide side : {KvSide::kKey, KvSide::kValue}) {
        for (int format = 0; format < 3; ++format) AddSlot(run_formats(side).size());
        for (int end = 0; end < 2; ++end)
          AddSlot(run_formats(side).size() < 2 ? 1 : layer_count_ + 1);
      }
      leading_genes_ = gene_count();
      break;
  }
}

// All layers take the same pair, so a pair that one group keeps has to be offered to all of them.
void Genome::CollectPairs() {
  for (const PrecisionPair pair : shape_.pairs) {
    if (pair.is_exact()) continue;  // the exact plan is the reference and is not searched
    const bool kept = std::ranges::any_of(groups_, [&](const LayerGroup& group) {
      return std::ranges::count(group.candidates, pair) > 0;
    });
    if (kept) pairs_.push_back(pair);
  }
}

void Genome::AddSlot(size_t choices) {
  if (choices > 1) {
    slot_of_gene_.push_back(slot_count_);
    choices_.push_back(static_cast<int>(choices));
  }
  ++slot_count_;
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

Genome::Slots Genome::SlotsOf(std::span<const int> genes) const {
  Slots slots(slot_count_, 0);
  for (size_t gene = 0; gene < slot_of_gene_.size(); ++gene)
    slots[slot_of_gene_[gene]] = genes[gene];
  return slots;
}

Genes Genome::GenesOf(const Slots& slots) const {
  Genes genes;
  for (const size_t slot : slot_of_gene_) genes.push_back(slots[slot]);
  return genes;
}

SideRuns Genome::RunsOf(std::span<const int> slots, KvSide side) const {
  const std::span<const int> own =
      slots.subspan(side == KvSide::kKey ? 0 : kSlotsOfSide, kSlotsOfSide);
  const auto format = [&](int choice) { return run_formats(side)[static_cast<size_t>(choice)]; };
  SideRuns runs{.first = format(own[1]),
                .middle = format(own[0]),
                .last = format(own[2]),
                .first_count = static_cast<size_t>(own[3]),
                .last_count = static_cast<size_t>(own[4])};
  runs.last_count = std::min(runs.last_count, layer_count_ - runs.first_count);
  return runs;
}

PrecisionPlan Genome::Decode(std::span<const int> genes) const {
  const Slots slots = SlotsOf(genes);
  PrecisionPlan plan = PrecisionPlan::Uniform(kExactPair, layer_count_);
  switch (shape_.kind) {
    case ShapeKind::kAnyPair:
      for (size_t i = 0; i < groups_.size(); ++i) {
        const PrecisionPair pair = groups_[i].candidates[static_cast<size_t>(slots[i])];
        for (const size_t layer : groups_[i].layers) plan.layers[layer] = pair;
      }
      break;
    case ShapeKind::kOnePair:
      plan = PrecisionPlan::Uniform(pairs_[static_cast<size_t>(slots[0])], layer_count_);
      break;
    case ShapeKind::kOnePairAndExact:
      for (size_t i = 0; i < groups_.size(); ++i) {
        if (slots[1 + i] == 0) continue;
        const PrecisionPair pair = pairs_[static_cast<size_t>(slots[0])];
        for (const size_t layer : groups_[i].layers) {
          if (!shape_.keeps_exact(pair, layer, layer_count_)) plan.layers[layer] = pair;
        }
      }
      break;
    case ShapeKind::kRuns: {
      const SideRuns keys = RunsOf(slots, KvSide::kKey), values = RunsOf(slots, KvSide::kValue);
      for (size_t layer = 0; layer < layer_count_; ++layer) {
        plan.layers[layer] = {keys.at(layer, layer_count_), values.at(layer, layer_count_)};
      }
      break;
    }
  }
  return plan;
}

Genome::Slots Genome::NearestGroups(const PrecisionPlan& plan) const {
  Slots slots;
  for (const LayerGroup& group : groups_) {
    PlanDistance smallest = kFarthest;
    int nearest = 0;
    for (size_t choice = 0; choice < group.candidates.size(); ++choice) {
      const PlanDistance distance = DistanceOfGroup(group, group.candidates[choice], plan, shape_);
      if (!(distance < smallest)) continue;
      smallest = distance;
      nearest = static_cast<int>(choice);
    }
    slots.push_back(nearest);
  }
  return slots;
}

Genome::Slots Genome::NearestPair(const PrecisionPlan& plan) const {
  Slots nearest;
  PlanDistance smallest = kFarthest;
  for (size_t i = 0; i < pairs_.size(); ++i) {
    Slots slots = {static_cast<int>(i)};
    PlanDistance distance;
    for (const LayerGroup& group : groups_) {
      const PlanDistance quantized = DistanceOfGroup(group, pairs_[i], plan, shape_);
      const PlanDistance exact = DistanceOfGroup(group, kExactPair, plan, shape_);
      const bool stays_exact = shape_.kind == ShapeKind::kOnePairAndExact && exact < quantized;
      distance += stays_exact ? exact : quantized;
      if (shape_.kind == ShapeKind::kOnePairAndExact) slots.push_back(stays_exact ? 0 : 1);
    }
    if (!(distance < smallest)) continue;
    smallest = distance;
    nearest = std::move(slots);
  }
  return nearest;
}

Genome::Slots Genome::NearestRunSlots(const PrecisionPlan& plan) const {
  Slots slots;
  for (const KvSide side : {KvSide::kKey, KvSide::kValue}) {
    const std::vector<KvFormatId>& formats = run_formats(side);
    const SideRuns runs = NearestRuns(formats, plan, side);
    for (const KvFormatId id : {runs.middle, runs.first, runs.last})
      slots.push_back(IndexOf(formats, id));
    slots.push_back(static_cast<int>(runs.first_count));
    slots.push_back(static_cast<int>(runs.last_count));
  }
  return slots;
}

Genes Genome::Project(const PrecisionPlan& plan) const {
  switch (shape_.kind) {
    case ShapeKind::kAnyPair:
      return GenesOf(NearestGroups(plan));
    case ShapeKind::kOnePair:
    case ShapeKind::kOnePairAndExact:
      return GenesOf(NearestPair(plan));
    case ShapeKind::kRuns:
      return GenesOf(NearestRunSlots(plan));
  }
  return {};
}

bool Genome::Next(Genes& genes) const {
  for (size_t i = genes.size(); i > 0; --i) {
    if (++genes[i - 1] < choices_[i - 1]) return true;
    genes[i - 1] = 0;
  }
  return false;
}

}  // namespace kvtune
