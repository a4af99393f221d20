#include "search/cluster.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <optional>
#include <tuple>

#include "lib/base/error.h"

namespace kvtune {
namespace {

constexpr int kUnvisited = -2;

void CheckArguments(const CandidateSet& candidates, const SensitivityTable& table,
                    const ClusterOptions& options) {
  if (!(options.eps > 0)) {
    throw Error(fmt::format("clustering: found the radius {}, expected one above 0", options.eps),
                ExitCode::kUsage);
  }
  if (options.min_samples < 1) {
    throw Error(fmt::format("clustering: found {} samples for a core point, expected at least 1",
                            options.min_samples),
                ExitCode::kUsage);
  }
  if (options.max_groups < 0) {
    throw Error(fmt::format("clustering: found a cap of {} groups, expected 0 (none) or more",
                            options.max_groups),
                ExitCode::kUsage);
  }
  if (candidates.layers.size() != table.layers.size()) {
    throw Error(
        fmt::format("clustering: found candidates of {} layers, expected {} as in the "
                    "sensitivity table",
                    candidates.layers.size(), table.layers.size()));
  }
}

size_t PairIndex(const SensitivityTable& table, PrecisionPair pair) {
  const auto found = std::find(table.pairs.begin(), table.pairs.end(), pair);
  if (found == table.pairs.end()) {
    throw Error(
        fmt::format("clustering: found the candidate {}, expected a pair of the sensitivity "
                    "table",
                    PairLabel(pair)));
  }
  return static_cast<size_t>(found - table.pairs.begin());
}

std::vector<double> ErrorVector(const SensitivityTable& table, size_t layer,
                                const std::vector<PrecisionPair>& pairs) {
  std::vector<double> errors;
  for (const PrecisionPair pair : pairs) {
    errors.push_back(table.layers[layer].errors[PairIndex(table, pair)].e_o);
  }
  return errors;
}

double Distance(const std::vector<double>& a, const std::vector<double>& b) {
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) sum += (a[i] - b[i]) * (a[i] - b[i]);
  return std::sqrt(sum);
}

// The mean distance between the layers of two groups. It is taken per pair (root mean square), so
// that distances over different numbers of pairs can be compared.
double AverageLinkage(const SensitivityTable& table, const LayerGroup& a, const LayerGroup& b,
                      const std::vector<PrecisionPair>& pairs) {
  double sum = 0;
  for (const size_t layer_a : a.layers) {
    const std::vector<double> errors = ErrorVector(table, layer_a, pairs);
    for (const size_t layer_b : b.layers)
      sum += Distance(errors, ErrorVector(table, layer_b, pairs));
  }
  return sum / std::sqrt(static_cast<double>(pairs.size())) /
         static_cast<double>(a.layers.size() * b.layers.size());
}

// The pairs that both have, in the order of `a`, which is most bits first.
std::vector<PrecisionPair> Common(const std::vector<PrecisionPair>& a,
                                  const std::vector<PrecisionPair>& b) {
  std::vector<PrecisionPair> common;
  for (const PrecisionPair pair : a) {
    if (std::find(b.begin(), b.end(), pair) != b.end()) common.push_back(pair);
  }
  return common;
}

void SortByFirstLayer(std::vector<LayerGroup>& groups) {
  for (LayerGroup& group : groups) std::sort(group.layers.begin(), group.layers.end());
  std::sort(groups.begin(), groups.end(), [](const LayerGroup& a, const LayerGroup& b) {
    return a.layers.front() < b.layers.front();
  });
}

std::vector<LayerGroup> OneGroupPerLayer(const CandidateSet& candidates) {
  std::vector<LayerGroup> groups;
  for (const LayerCandidates& layer : candidates.layers) {
    groups.push_back({{layer.index}, layer.kept});
  }
  return groups;
}

std::vector<LayerGroup> DensityGroups(const CandidateSet& candidates, const SensitivityTable& table,
                                      const ClusterOptions& options) {
  std::map<std::vector<PrecisionPair>, std::vector<size_t>> layers_by_kept;
  for (const LayerCandidates& layer : candidates.layers) {
    layers_by_kept[layer.kept].push_back(layer.index);
  }
  std::vector<LayerGroup> groups;
  for (const auto& [kept, layers] : layers_by_kept) {
    std::vector<std::vector<double>> points;
    for (const size_t layer : layers) points.push_back(ErrorVector(table, layer, kept));
    const std::vector<int> clusters = Dbscan(points, options.eps, options.min_samples);
    std::map<int, std::vector<size_t>> layers_by_cluster;
    for (size_t i = 0; i < layers.size(); ++i) {
      if (clusters[i] == kNoise) {
        groups.push_back({{layers[i]}, kept});
      } else {
        layers_by_cluster[clusters[i]].push_back(layers[i]);
      }
    }
    for (auto& [cluster, members] : layers_by_cluster) groups.push_back({std::move(members), kept});
  }
  SortByFirstLayer(groups);
  return groups;
}

struct Merge {
  size_t first = 0, second = 0;
  // The number of pairs that only one of the two groups keeps. Groups with few common pairs can
  // look close for the wrong reason: errors at 8 bits are alike in all layers.
  size_t lost_pairs = 0;
  double distance = 0;
  std::vector<PrecisionPair> candidates;
};

std::optional<Merge> BestMerge(const std::vector<LayerGroup>& groups,
                               const SensitivityTable& table) {
  std::optional<Merge> best;
  for (size_t i = 0; i < groups.size(); ++i) {
    for (size_t j = i + 1; j < groups.size(); ++j) {
      Merge merge{i, j, 0, 0, Common(groups[i].candidates, groups[j].candidates)};
      if (merge.candidates.empty()) continue;
      merge.lost_pairs =
          groups[i].candidates.size() + groups[j].candidates.size() - 2 * merge.candidates.size();
      merge.distance = AverageLinkage(table, groups[i], groups[j], merge.candidates);
      if (!best ||
          std::tie(merge.lost_pairs, merge.distance) < std::tie(best->lost_pairs, best->distance)) {
        best = std::move(merge);
      }
    }
  }
  return best;
}

void MergeDownTo(size_t max_groups, std::vector<LayerGroup>& groups,
                 const SensitivityTable& table) {
  while (groups.size() > max_groups) {
    std::optional<Merge> merge = BestMerge(groups, table);
    if (!merge) {
      throw Error(
          fmt::format("clustering: found no pair in common between any of {} groups, expected "
                      "to reach at most {} groups",
                      groups.size(), max_groups));
    }
    LayerGroup& first = groups[merge->first];
    const LayerGroup& second = groups[merge->second];
    first.layers.insert(first.layers.end(), second.layers.begin(), second.layers.end());
    first.candidates = std::move(merge->candidates);
    groups.erase(groups.begin() + static_cast<ptrdiff_t>(merge->second));
    SortByFirstLayer(groups);
  }
}

}  // namespace

std::vector<int> Dbscan(std::span<const std::vector<double>> points, double eps, int min_samples) {
  const auto neighbours = [&](size_t center) {
    std::vector<size_t> near;
    for (size_t i = 0; i < points.size(); ++i) {
      if (Distance(points[center], points[i]) <= eps) near.push_back(i);
    }
    return near;
  };
  std::vector<int> clusters(points.size(), kUnvisited);
  int cluster = 0;
  for (size_t start = 0; start < points.size(); ++start) {
    if (clusters[start] != kUnvisited) continue;
    std::vector<size_t> reached = neighbours(start);
    if (reached.size() < static_cast<size_t>(min_samples)) {
      clusters[start] = kNoise;
      continue;
    }
    clusters[start] = cluster;
    for (size_t next = 0; next < reached.size(); ++next) {  // grows while it is walked
      const size_t point = reached[next];
      const bool expand = clusters[point] == kUnvisited;
      if (clusters[point] == kUnvisited || clusters[point] == kNoise) clusters[point] = cluster;
      if (!expand) continue;
      const std::vector<size_t> further = neighbours(point);
      if (further.size() >= static_cast<size_t>(min_samples)) {
        reached.insert(reached.end(), further.begin(), further.end());
      }
    }
    ++cluster;
  }
  return clusters;
}

LayerGroups Cluster(const CandidateSet& candidates, const SensitivityTable& table,
                    const ClusterOptions& options) {
  CheckArguments(candidates, table, options);
  LayerGroups groups;
  groups.run = candidates.run;
  groups.groups =
      options.no_cluster ? OneGroupPerLayer(candidates) : DensityGroups(candidates, table, options);
  if (options.max_groups > 0) {
    MergeDownTo(static_cast<size_t>(options.max_groups), groups.groups, table);
  }
  return groups;
}

}  // namespace kvtune
