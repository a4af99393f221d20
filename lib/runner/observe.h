// Measures sensitivity: how each precision pair disturbs a layer's attention in the exact model.
#pragma once

#include <span>

#include "lib/core/layer_observation.h"
#include "lib/runner/decoder.h"
#include "lib/runner/model_probe.h"

namespace kvtune {

// Runs one layer of an exact pass over a prompt, in place on its hidden states [tokens, hidden],
// and adds what it measures to `observation`, whose pairs are in the order of `pairs`. Each format
// is quantized once. Attention scores depend on the key format only, so with weights in memory the
// cost is one softmax for each key format and one value product for each pair; flash attention runs
// once for each pair, and a kernel compares the weights of all key formats in one pass
// (attention_errors.h).
void ObserveLayer(const Decoder& decoder, size_t layer, at::Tensor& hidden,
                  std::span<const PrecisionPair> pairs, int64_t exact_queries,
                  LayerObservation& observation);

// Runs the same pass and returns what the layer computes.
LayerStates ObserveStates(const Decoder& decoder, size_t layer, at::Tensor& hidden);

}  // namespace kvtune
