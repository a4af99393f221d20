// The shape of a target's plans: which plans a serving engine can run, described as data.
//
// An engine that can store 4 bits and 8 bits cannot always mix them freely. One engine takes any
// pair in any layer, another takes one pair for the whole model, and a third may change its format
// only twice from the first layer to the last. Restrictions on single pairs (for example, keys and
// values must share one format) are expressed by the list of pairs.
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "lib/core/precision_plan.h"

namespace kvtune {

enum class ShapeKind {
  kAnyPair,          // every layer takes any of the pairs
  kOnePair,          // all layers take the same pair
  kOnePairAndExact,  // all layers take the same pair, except a set of exact layers
  // The first N layers, the last M layers and those between them take one key format each. The same
  // holds for value formats, with layer counts of their own.
  kRuns,
};

struct PlanShape {
  ShapeKind kind = ShapeKind::kAnyPair;
  // The pairs that a layer may take, most bits first. The exact pair is among them when a layer, or
  // the whole cache, may stay exact (kOnePairAndExact implies it). With kRuns every key format may
  // go with every value format. An empty list, which only kAnyPair may have, allows every plan.
  std::vector<PrecisionPair> pairs;
  // For kOnePairAndExact: the pairs with which the engine itself keeps the first `exact_ends`
  // layers and the last `exact_ends` layers exact, though never more than half of the layers at
  // either end.
  std::vector<PrecisionPair> pairs_with_exact_ends = {};
  size_t exact_ends = 0;

  bool has(PrecisionPair pair) const;
  // Returns the formats of one side, each once, in the order of the pairs.
  std::vector<KvFormatId> formats(KvSide side) const;
  // Whether a layer may be exact beside others that are not.
  bool mixes_exact_layers() const;
  // Whether the engine keeps this layer exact when the other layers take `pair`.
  bool keeps_exact(PrecisionPair pair, size_t layer, size_t layer_count) const;
  // Returns the plan with `pair` in all layers except those that the engine keeps exact.
  PrecisionPlan Uniform(PrecisionPair pair, size_t layer_count) const;
};

// The formats of one side of a plan whose shape is kRuns.
struct SideRuns {
  KvFormatId first = KvFormatId::kExact, middle = KvFormatId::kExact, last = KvFormatId::kExact;
  size_t first_count = 0, last_count = 0;  // numbers of layers; the rest is the middle

  KvFormatId at(size_t layer, size_t layer_count) const;
  friend bool operator==(const SideRuns&, const SideRuns&) = default;
};

// Finds the runs of one side. Returns nullopt when the side changes its format more than twice.
// When there are two runs, they are the first and the middle.
std::optional<SideRuns> FindRuns(const PrecisionPlan& plan, KvSide side);

// Returns why the shape does not allow the plan ("layer 3 takes KV4, layer 0 KV8: ..."), or nullopt
// when it does allow it.
std::optional<std::string> WhyNot(const PlanShape& shape, const PrecisionPlan& plan);

// How far apart two plans are. What counts first is the sum over layers and sides of the squared
// differences in nominal bits; they are squared so that layers that want opposite ends meet in the
// middle. What counts second is the number of sides that differ.
struct PlanDistance {
  double bits_squared = 0;
  size_t changed_sides = 0;

  PlanDistance& operator+=(const PlanDistance& other);
  friend auto operator<=>(const PlanDistance&, const PlanDistance&) = default;
};
PlanDistance DistanceOf(KvFormatId a, KvFormatId b);
PlanDistance DistanceOf(PrecisionPair a, PrecisionPair b);

// Returns the allowed plan with the smallest distance from `plan`; ties go to more bits. A plan
// that is allowed is its own nearest plan. REQUIRES: plan has at least one layer.
PrecisionPlan NearestPlan(const PlanShape& shape, const PrecisionPlan& plan);

// Returns the nearest runs of one side over `formats`. REQUIRES: formats is not empty, and plan has
// at least one layer.
SideRuns NearestRuns(std::span<const KvFormatId> formats, const PrecisionPlan& plan, KvSide side);

// Describes the shape for people, for example "any of the pairs in every layer".
std::string DescribeShape(const PlanShape& shape);

}  // namespace kvtune
