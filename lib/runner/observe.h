// Measures sensitivity: how each precision pair disturbs a layer's attention in the exact model.
#pragma once

#include <span>

#include "lib/core/layer_observation.h"
#include "lib/runner/decoder.h"
#include "lib/runner/model_probe.h"

namespace kvtune {

// Runs one layer of an exact pass over a prompt, in place on its hidden states [tokens, hidden],
// and adds what it measures to `observation`, whose pairs are in the order of `pairs`. Attention
// scores depend on the key format only, so the cost is one softmax for each key format and one
// value product for each pair.
void ObserveLayer(const Decoder& decoder, size_t layer, at::Tensor& hidden,
                  std::span<const PrecisionPair> pairs, int64_t exact_queries,
                  LayerObservation& observation);

// Runs the same pass and returns what the layer computes.
LayerStates ObserveStates(const Decoder& decoder, size_t layer, at::Tensor& hidden);

}  // namespace kvtune
