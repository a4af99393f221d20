// Which plans a serving engine can run: the shape of its plans, as data.
//
// An engine that can store 4 and 8 bits cannot always store 4 bits here and 8 bits there: one takes
// any pair in any layer, another one pair for the whole model, a third changes its format twice on
// the way up. What is true of single pairs (keys and values tied to one format, say) is in the list
// of pairs.
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
  kOnePairAndExact,  // all layers take the same pair, but for a set of exact layers
  kRuns,             // keys: the first N layers, the last M and those between take one format each;
                     // values likewise, with layer counts of their own
};

struct PlanShape {
  ShapeKind kind = ShapeKind::kAnyPair;
  // Pairs that a layer may take, most bits first; the exact one among them where a layer, or the
  // whole cache, may stay exact (kOnePairAndExact implies it). Of kRuns every key format goes with
  // every value format. Empty, of kAnyPair only: every plan is allowed.
  std::vector<PrecisionPair> pairs;
  // Of kOnePairAndExact: pairs beside which the engine itself keeps so many of the first layers
  // exact and so many of the last, at most half of the layers each.
  std::vector<PrecisionPair> pairs_with_exact_ends = {};
  size_t exact_ends = 0;

  bool has(PrecisionPair pair) const;
  // Each once, in the order of the pairs.
  std::vector<KvFormatId> formats(KvSide side) const;
  // Whether a layer may be exact beside others that are not.
  bool mixes_exact_layers() const;
  // Whether the engine keeps this layer exact where the others take `pair`.
  bool keeps_exact(PrecisionPair pair, size_t layer, size_t layer_count) const;
  // `pair` in all layers but those.
  PrecisionPlan Uniform(PrecisionPair pair, size_t layer_count) const;
};

// One side of a plan of kRuns.
struct SideRuns {
  KvFormatId first = KvFormatId::kExact, middle = KvFormatId::kExact, last = KvFormatId::kExact;
  size_t first_count = 0, last_count = 0;  // layers; the rest is the middle

  KvFormatId at(size_t layer, size_t layer_count) const;
  friend bool operator==(const SideRuns&, const SideRuns&) = default;
};

// nullopt where the side changes its format more than twice. Two runs are the first and the middle.
std::optional<SideRuns> FindRuns(const PrecisionPlan& plan, KvSide side);

// Why the shape does not allow the plan ("layer 3 takes KV4, layer 0 KV8: ..."); nullopt when it
// does.
std::optional<std::string> WhyNot(const PlanShape& shape, const PrecisionPlan& plan);

// How far apart two plans are: first the sum over layers and sides of squared differences in
// nominal bits (squared, so that layers that want opposite ends meet in the middle), then the sides
// that differ.
struct PlanDistance {
  double bits_squared = 0;
  size_t changed_sides = 0;

  PlanDistance& operator+=(const PlanDistance& other);
  friend auto operator<=>(const PlanDistance&, const PlanDistance&) = default;
};
PlanDistance DistanceOf(KvFormatId a, KvFormatId b);
PlanDistance DistanceOf(PrecisionPair a, PrecisionPair b);

// The allowed plan with the smallest distance; ties go to more bits. A plan that is allowed is its
// own nearest. REQUIRES: plan has a layer.
PrecisionPlan NearestPlan(const PlanShape& shape, const PrecisionPlan& plan);

// The nearest runs of one side over `formats`. REQUIRES: formats is not empty, plan has a layer.
SideRuns NearestRuns(std::span<const KvFormatId> formats, const PrecisionPlan& plan, KvSide side);

// "any of the pairs in every layer", for people.
std::string DescribeShape(const PlanShape& shape);

}  // namespace kvtune
