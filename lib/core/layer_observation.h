// What one exact pass over prompts shows about a layer's attention. These are sums that add up over
// prompts; sensitivity, scales and diagnosis are computed from them.
#pragma once

#include <vector>

#include "lib/core/cache_maxima.h"

namespace kvtune {

// Sums over the elements of one KV head. The first letter says of what: k keys, v values, a
// attention weights, o attention output before the output projection.
struct HeadErrorSums {
  double k_error = 0, k_total = 0, v_error = 0, v_total = 0, o_error = 0, o_total = 0;
  double a_error = 0;
  // Sums and counts of the element-wise ratios |x-x^| / |x|, over the elements x that are not 0.
  double k_ratio = 0, v_ratio = 0, o_ratio = 0;
  double k_count = 0, v_count = 0, o_count = 0, a_count = 0;

  HeadErrorSums& operator+=(const HeadErrorSums& other);
};

// The errors that one precision pair causes in a layer.
struct PairErrorSums {
  std::vector<HeadErrorSums> kv_heads;
  // For each key channel of all KV heads: sum |K-K^|.
  std::vector<double> key_channel_error;
};

struct LayerObservation {
  std::vector<PairErrorSums> pairs;  // in the order of the pairs that were asked for
  // For each query head: the sum over queries of the largest attention weight.
  std::vector<double> concentration_sum;
  double concentration_count = 0;         // number of queries in that sum
  std::vector<double> key_channel_max;    // per key channel of all KV heads: max |K|
  std::vector<double> key_channel_total;  // per key channel of all KV heads: sum |K|
  LayerMaxima maxima;                     // calibrated scales are computed from them
  double key_bias_norm = 0;               // L2 norm of the layer's key bias, 0 without one

  // Adds the observation of the same layer over other prompts. REQUIRES: the same pairs and sizes.
  LayerObservation& operator+=(const LayerObservation& other);
};

}  // namespace kvtune
