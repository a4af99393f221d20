#include "lib/core/plan_shape.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <utility>

namespace kvtune {
namespace {

constexpr PlanDistance kFarthest = {std::numeric_limits<double>::infinity(), 0};

KvFormatId FormatAt(const PrecisionPlan& plan, size_t layer, KvSide side) {
  return side == KvSide::kKey ? plan.layers[layer].key : plan.layers[layer].value;
}

std::string_view WordOf(KvSide side) { return side == KvSide::kKey ? "keys" : "values"; }

// An engine switches rotation on or off for all layers of a side, so a plan must not mix both.
bool IsRotated(KvFormatId id, KvSide side) {
  return FormatOf(id).layout(side).rotation.kind != RotationKind::kNone;
}

std::string LabelsOf(const std::vector<PrecisionPair>& pairs) {
  std::string labels;
  for (const PrecisionPair pair : pairs) labels += (labels.empty() ? "" : ", ") + PairLabel(pair);
  return labels;
}

std::optional<std::string> WhyNotOnePair(const PlanShape& shape, const PrecisionPlan& plan) {
  const bool exact_layers = shape.kind == ShapeKind::kOnePairAndExact;
  std::optional<size_t> first;
  for (size_t layer = 0; layer < plan.layers.size(); ++layer) {
    if (exact_layers && plan.layers[layer].is_exact()) continue;
    if (!first) first = layer;
    if (shape.keeps_exact(plan.layers[layer], layer, plan.layers.size())) {
      return fmt::format(
          "layer {} takes {}, expected exact: the engine keeps the first {} and the last {} layers "
          "exact beside it",
          layer, PairLabel(plan.layers[layer]), shape.exact_ends, shape.exact_ends);
    }
    if (plan.layers[layer] == plan.layers[*first]) continue;
    return fmt::format("layer {} takes {} and layer {} {}, expected the same in all {}layers",
                       *first, PairLabel(plan.layers[*first]), layer, PairLabel(plan.layers[layer]),
                       exact_layers ? "but exact " : "");
  }
  return std::nullopt;
}

std::optional<std::string> WhyNotRuns(const PrecisionPlan& plan, KvSide side) {
  if (!FindRuns(plan, side)) {
    return fmt::format(
        "the {} change their format more than twice, expected one for the first layers, "
        "one for the last and one between",
        WordOf(side));
  }
  const SideRuns runs = *FindRuns(plan, side);
  for (const KvFormatId end : {runs.first, runs.last}) {
    // The middle decides whether the side is rotated. Exact ends may have either setting, because a
    // rotation does not change what is stored exactly.
    if (IsRotated(end, side) == IsRotated(runs.middle, side) || FormatOf(end).is_exact()) continue;
    return fmt::format("the {} are rotated in some layers only, as {} and {}, expected all or none",
                       WordOf(side), FormatOf(end).name, FormatOf(runs.middle).name);
  }
  return std::nullopt;
}

PrecisionPair NearestPair(const std::vector<PrecisionPair>& pairs, PrecisionPair wanted) {
  PrecisionPair nearest = pairs.front();
  for (const PrecisionPair pair : pairs) {
    if (DistanceOf(pair, wanted) < DistanceOf(nearest, wanted)) nearest = pair;
  }
  return nearest;
}

PrecisionPlan NearestOnePair(const PlanShape& shape, const PrecisionPlan& plan) {
  PrecisionPlan nearest;
  PlanDistance smallest = kFarthest;
  for (const PrecisionPair pair : shape.pairs) {
    PrecisionPlan candidate;
    PlanDistance distance;
    for (size_t layer = 0; layer < plan.layers.size(); ++layer) {
      const PrecisionPair wanted = plan.layers[layer];
      const bool exact = shape.kind == ShapeKind::kOnePairAndExact &&
                         (shape.keeps_exact(pair, layer, plan.layers.size()) ||
                          DistanceOf(kExactPair, wanted) < DistanceOf(pair, wanted));
      candidate.layers.push_back(exact ? kExactPair : pair);
      distance += DistanceOf(candidate.layers.back(), wanted);
    }
    if (!(distance < smallest)) continue;
    smallest = distance;
    nearest = std::move(candidate);
  }
  return nearest;
}

PlanDistance DistanceOfSide(const SideRuns& runs, const PrecisionPlan& plan, KvSide side) {
  PlanDistance distance;
  for (size_t layer = 0; layer < plan.layers.size(); ++layer) {
    distance += DistanceOf(runs.at(layer, plan.layers.size()), FormatAt(plan, layer, side));
  }
  return distance;
}

SideRuns NearestAllowedRuns(const PlanShape& shape, const PrecisionPlan& plan, KvSide side) {
  std::optional<SideRuns> nearest;
  // A side is rotated in all layers or in none, so each of the two is tried by itself.
  for (const bool rotated : {true, false}) {
    std::vector<KvFormatId> formats = shape.formats(side);
    std::erase_if(formats, [&](KvFormatId id) { return IsRotated(id, side) != rotated; });
    if (formats.empty()) continue;
    const SideRuns runs = NearestRuns(formats, plan, side);
    if (!nearest || DistanceOfSide(runs, plan, side) < DistanceOfSide(*nearest, plan, side))
      nearest = runs;
  }
  return *nearest;
}

}  // namespace

bool PlanShape::has(PrecisionPair pair) const { return std::ranges::count(pairs, pair) > 0; }

std::vector<KvFormatId> PlanShape::formats(KvSide side) const {
  std::vector<KvFormatId> formats;
  for (const PrecisionPair pair : pairs) {
    const KvFormatId id = side == KvSide::kKey ? pair.key : pair.value;
    if (std::ranges::count(formats, id) == 0) formats.push_back(id);
  }
  return formats;
}

bool PlanShape::mixes_exact_layers() const {
  return kind == ShapeKind::kOnePairAndExact || (kind == ShapeKind::kAnyPair && has(kExactPair));
}

bool PlanShape::keeps_exact(PrecisionPair pair, size_t layer, size_t layer_count) const {
  if (std::ranges::count(pairs_with_exact_ends, pair) == 0) return false;
  const size_t ends = std::min(exact_ends, layer_count / 2);
  return layer < ends || layer + ends >= layer_count;
}

PrecisionPlan PlanShape::Uniform(PrecisionPair pair, size_t layer_count) const {
  PrecisionPlan plan = PrecisionPlan::Uniform(pair, layer_count);
  for (size_t layer = 0; layer < layer_count; ++layer) {
    if (keeps_exact(pair, layer, layer_count)) plan.layers[layer] = kExactPair;
  }
  return plan;
}

KvFormatId SideRuns::at(size_t layer, size_t layer_count) const {
  if (layer < first_count) return first;
  return layer + last_count < layer_count ? middle : last;
}

std::optional<SideRuns> FindRuns(const PrecisionPlan& plan, KvSide side) {
  std::vector<std::pair<KvFormatId, size_t>> runs;
  for (size_t layer = 0; layer < plan.layers.size(); ++layer) {
    const KvFormatId id = FormatAt(plan, layer, side);
    if (runs.empty() || runs.back().first != id) runs.emplace_back(id, 0);
    ++runs.back().second;
  }
  switch (runs.size()) {
    case 1:
      return SideRuns{.first = runs[0].first, .middle = runs[0].first, .last = runs[0].first};
    case 2:
      return SideRuns{.first = runs[0].first,
                      .middle = runs[1].first,
                      .last = runs[1].first,
                      .first_count = runs[0].second};
    case 3:
      return SideRuns{.first = runs[0].first,
                      .middle = runs[1].first,
                      .last = runs[2].first,
                      .first_count = runs[0].second,
                      .last_count = runs[2].second};
    default:
      return std::nullopt;
  }
}

std::optional<std::string> WhyNot(const PlanShape& shape, const PrecisionPlan& plan) {
  if (shape.kind == ShapeKind::kAnyPair && shape.pairs.empty()) return std::nullopt;
  for (size_t layer = 0; layer < plan.layers.size(); ++layer) {
    const PrecisionPair pair = plan.layers[layer];
    if (shape.has(pair) || (shape.kind == ShapeKind::kOnePairAndExact && pair.is_exact())) continue;
    if (shape.kind == ShapeKind::kRuns &&
        std::ranges::count(shape.formats(KvSide::kKey), pair.key) > 0 &&
        std::ranges::count(shape.formats(KvSide::kValue), pair.value) > 0) {
      continue;
    }
    return fmt::format("layer {} takes {}, expected one of {}", layer, PairLabel(pair),
                       LabelsOf(shape.pairs));
  }
  switch (shape.kind) {
    case ShapeKind::kAnyPair:
      return std::nullopt;
    case ShapeKind::kOnePair:
    case ShapeKind::kOnePairAndExact:
      return WhyNotOnePair(shape, plan);
    case ShapeKind::kRuns: {
      const std::optional<std::string> of_keys = WhyNotRuns(plan, KvSide::kKey);
      return of_keys ? of_keys : WhyNotRuns(plan, KvSide::kValue);
    }
  }
  return std::nullopt;
}

PlanDistance& PlanDistance::operator+=(const PlanDistance& other) {
  bits_squared += other.bits_squared;
  changed_sides += other.changed_sides;
  return *this;
}

PlanDistance DistanceOf(KvFormatId a, KvFormatId b) {
  const double bits = FormatOf(a).bits - FormatOf(b).bits;
  return {bits * bits, a == b ? size_t{0} : size_t{1}};
}

PlanDistance DistanceOf(PrecisionPair a, PrecisionPair b) {
  PlanDistance distance = DistanceOf(a.key, b.key);
  distance += DistanceOf(a.value, b.value);
  return distance;
}

PrecisionPlan NearestPlan(const PlanShape& shape, const PrecisionPlan& plan) {
  if (!WhyNot(shape, plan)) return plan;
  PrecisionPlan nearest;
  switch (shape.kind) {
    case ShapeKind::kAnyPair:
      for (const PrecisionPair wanted : plan.layers)
        nearest.layers.push_back(NearestPair(shape.pairs, wanted));
      return nearest;
    case ShapeKind::kOnePair:
    case ShapeKind::kOnePairAndExact:
      return NearestOnePair(shape, plan);
    case ShapeKind::kRuns: {
      const SideRuns keys = NearestAllowedRuns(shape, plan, KvSide::kKey);
      const SideRuns values = NearestAllowedRuns(shape, plan, KvSide::kValue);
      const size_t layers = plan.layers.size();
      for (size_t layer = 0; layer < layers; ++layer) {
        nearest.layers.push_back({keys.at(layer, layers), values.at(layer, layers)});
      }
      return nearest;
    }
  }
  return nearest;
}

// Seeds and imported plans have any shape, so they have to be mapped to runs when an engine takes
// nothing else. Every pair of places where the runs may begin and end is tried, since there are few
// such pairs; with sums over the first n layers at hand, each one costs no more than a look at
// every format.
SideRuns NearestRuns(std::span<const KvFormatId> formats, const PrecisionPlan& plan, KvSide side) {
  const size_t layers = plan.layers.size();
  // before[f][n] is the distance of format f over the first n layers.
  std::vector<std::vector<PlanDistance>> before;
  for (const KvFormatId format : formats) {
    before.emplace_back(1);
    for (size_t layer = 0; layer < layers; ++layer) {
      before.back().push_back(before.back().back());
      before.back().back() += DistanceOf(format, FormatAt(plan, layer, side));
    }
  }
  struct Best {
    size_t format = 0;
    PlanDistance distance = kFarthest;
  };
  const auto best_between = [&](size_t begin, size_t end) {
    Best best;
    for (size_t i = 0; i < formats.size(); ++i) {
      const PlanDistance distance = {before[i][end].bits_squared - before[i][begin].bits_squared,
                                     before[i][end].changed_sides - before[i][begin].changed_sides};
      if (distance < best.distance) best = {i, distance};
    }
    return best;
  };
  SideRuns nearest;
  PlanDistance smallest = kFarthest;
  for (size_t first = 0; first < layers; ++first) {
    for (size_t last = 0; first + last < layers; ++last) {
      const Best middle = best_between(first, layers - last);
      const Best begin = first == 0 ? middle : best_between(0, first);
      const Best end = last == 0 ? middle : best_between(layers - last, layers);
      PlanDistance distance = middle.distance;
      if (first > 0) distance += begin.distance;
      if (last > 0) distance += end.distance;
      if (!(distance < smallest)) continue;
      smallest = distance;
      nearest = {formats[begin.format], formats[middle.format], formats[end.format], first, last};
    }
  }
  return nearest;
}

std::string DescribeShape(const PlanShape& shape) {
  switch (shape.kind) {
    case ShapeKind::kAnyPair:
      return fmt::format("any of the pairs in every layer{}",
                         shape.has(kExactPair) ? "; layers may stay exact" : "");
    case ShapeKind::kOnePair:
      return "one of the pairs in all layers";
    case ShapeKind::kOnePairAndExact: {
      std::string text = "one of the pairs in all layers but a list of exact ones";
      if (!shape.pairs_with_exact_ends.empty()) {
        text +=
            fmt::format("; beside {} these have the first {} and the last {}",
                        LabelsOf(shape.pairs_with_exact_ends), shape.exact_ends, shape.exact_ends);
      }
      return text;
    }
    case ShapeKind::kRuns:
      return "keys: one format for the first N layers, one for the last M, one between; values "
             "likewise";
  }
  return "";
}

}  // namespace kvtune
