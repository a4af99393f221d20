// The cluster stage: layers with the same candidates and similar errors share one gene.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "lib/core/candidates.h"
#include "lib/core/layer_groups.h"
#include "lib/core/sensitivity.h"

namespace kvtune {

struct ClusterOptions {
  // True gives every layer a group of its own. The search can then treat every layer differently,
  // but its space is larger.
  bool no_cluster = false;
  // DBSCAN over the layers' error vectors (KVTuner, section 5.2): eps is the radius of a
  // neighbourhood, min_samples the fewest points in the neighbourhood of a core point, itself
  // included. Layers that are noise become groups of one layer.
  double eps = 0.05;
  int min_samples = 2;
  // The most groups there may be; 0 means no cap. To satisfy the cap, the closest groups with equal
  // candidates are merged first (average linkage). When none of those are left, groups with
  // different candidates are merged and keep the pairs that both have; the groups that lose the
  // fewest pairs by it go first.
  int max_groups = 0;
};

// A layer's error vector holds e_o of the pairs that pruning kept. Every layer ends up in exactly
// one group. Throws Error when table and candidates differ in layers or pairs, when the cap cannot
// be reached because groups have no pair in common, and for options out of range (kUsage).
LayerGroups Cluster(const CandidateSet& candidates, const SensitivityTable& table,
                    const ClusterOptions& options);

// DBSCAN (Ester et al. 1996) with Euclidean distances: returns a cluster number for every point,
// counted from 0 in the order of the points, and kNoise for points without a dense neighbourhood. A
// point between two clusters joins the first one. REQUIRES: points of equal size.
inline constexpr int kNoise = -1;
std::vector<int> Dbscan(std::span<const std::vector<double>> points, double eps, int min_samples);

}  // namespace kvtune
