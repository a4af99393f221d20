// What one exact pass over prompts shows of a layer's attention: sums that are additive over
// prompts, from which sensitivity, scales and diagnosis are made.
#pragma once

#include <vector>

#include "lib/core/cache_maxima.h"

namespace kvtune {

// Sums over the elements of one KV head. k, v: keys and values; a: attention weights; o: attention
// output before the output projection.
struct HeadErrorSums {
  double k_error = 0, k_total = 0, v_error = 0, v_total = 0, o_error = 0, o_total = 0;
  double a_error = 0;
  // Sums and counts of the element-wise ratios |x-x^| / |x| over elements x != 0.
  double k_ratio = 0, v_ratio = 0, o_ratio = 0;
  double k_count = 0, v_count = 0, o_count = 0, a_count = 0;

  HeadErrorSums& operator+=(const HeadErrorSums& other);
};

// What one precision pair does to a layer.
struct PairErrorSums {
  std::vector<HeadErrorSums> kv_heads;
  std::vector<double> key_channel_error;  // per key channel of all KV heads: sum |K-K^|
};

struct LayerObservation {
  std::vector<PairErrorSums> pairs;       // in the order that was asked for
  std::vector<double> concentration_sum;  // per query head: sum over queries of the largest weight
  double concentration_count = 0;         // queries
  std::vector<double> key_channel_max;    // per key channel of all KV heads: max |K|
  std::vector<double> key_channel_total;  // per key channel of all KV heads: sum |K|
  LayerMaxima maxima;                     // what calibrated scales are made from
  double key_bias_norm = 0;               // L2 norm of the layer's key bias, 0 without one

  // Adds what other prompts show of the same layer. REQUIRES: the same pairs and sizes.
  LayerObservation& operator+=(const LayerObservation& other);
};

}  // namespace kvtune
