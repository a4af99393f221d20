// The cluster stage: layers with the same candidates and similar errors share one gene.
#pragma once

#include "lib/core/candidates.h"
#include "lib/core/layer_groups.h"
#include "lib/core/sensitivity.h"

namespace kvtune {

struct ClusterOptions {
  // One group a layer.
  bool no_cluster = false;
  // DBSCAN over the layers' error vectors (KVTuner, section 5.2): neighbourhood radius and the
  // smallest neighbourhood of a core point. Noise becomes groups of one layer.
  double eps = 0.05;
  int min_samples = 2;
  // 0: no cap. Else the closest groups of equal candidates are merged until the cap holds (average
  // linkage); when all of those are merged, groups of different candidates are joined over the
  // pairs that both keep.
  int max_groups = 0;
};

LayerGroups Cluster(const CandidateSet& candidates, const SensitivityTable& table, const ClusterOptions& options);

}  // namespace kvtune
