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
  // One group a layer: the search sees every layer apart, in a larger space.
  bool no_cluster = false;
  // DBSCAN over the layers' error vectors (KVTuner, section 5.2): neighbourhood radius and the
  // smallest neighbourhood of a core point, itself included. Noise becomes groups of one layer.
  double eps = 0.05;
  int min_samples = 2;
  // 0: no cap. Else the closest groups of equal candidates are merged until the cap holds (average
  // linkage); when all of those are merged, groups of different candidates are joined over the
  // pairs that both keep, those that lose the fewest pairs first.
  int max_groups = 0;
};

// A layer's error vector is e_o of its kept pairs. Every layer ends in exactly one group.
// Throws Error when table and candidates differ in layers or pairs, when the cap cannot be reached
// because groups have no pair in common, and for options out of range (kUsage).
LayerGroups Cluster(const CandidateSet& candidates, const SensitivityTable& table,
                    const ClusterOptions& options);

// DBSCAN (Ester et al. 1996) with Euclidean distances: a cluster number for every point, from 0 in
// the order of the points, and kNoise for those without a dense neighbourhood. A point between two
// clusters joins the first. REQUIRES: points of equal size.
inline constexpr int kNoise = -1;
std::vector<int> Dbscan(std::span<const std::vector<double>> points, double eps, int min_samples);

}  // namespace kvtune
