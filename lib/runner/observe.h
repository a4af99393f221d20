// Measures sensitivity: how each precision pair disturbs a layer's attention in the exact model.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "lib/core/layer_observation.h"
#include "lib/runner/attention_errors.h"
#include "lib/runner/decoder.h"
#include "lib/runner/fetched_sums.h"
#include "lib/runner/model_probe.h"

namespace kvtune {

// What one layer has measured on one prompt, while the device may still be computing it.
struct MeasuredLayer {
  struct Queries {
    FetchedSums errors;  // the tensors of AttentionErrors
    int64_t count;
    double visible;  // how many (query, key) pairs the query heads of a KV head see
  };

  std::vector<ComparedAttention::Pair> pairs;  // places in the sums of keys and of values
  double key_bias_norm;
  FetchedSums
      cache;  // how far stored keys and values are from the exact ones, and the largest ones
  std::vector<Queries> queries;

  // Waits for the sums and adds them to `observation`, which has as many pairs.
  void AddTo(LayerObservation& observation) const;
};

// Runs one layer of an exact pass over a prompt, in place on its hidden states [tokens, hidden],
// and measures every pair. Each format is quantized once. Attention scores depend on the key format
// only, so with weights in memory the cost is one softmax for each key format and one value product
// for each pair; flash attention runs once for each pair, and a kernel compares the weights of all
// key formats in one pass (attention_errors.h).
MeasuredLayer ObserveLayer(const Decoder& decoder, size_t layer, at::Tensor& hidden,
                           std::span<const PrecisionPair> pairs, int64_t exact_queries);

// Runs the same pass and returns what the layer computes.
LayerStates ObserveStates(const Decoder& decoder, size_t layer, at::Tensor& hidden);

}  // namespace kvtune
