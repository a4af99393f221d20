// Sensitivity: how each precision pair disturbs a layer's attention, seen from the exact model.
#pragma once

#include <span>

#include "lib/core/layer_observation.h"
#include "lib/runner/decoder.h"
#include "lib/runner/model_probe.h"

namespace kvtune {

// One layer of an exact pass over a prompt, in place on its hidden states [tokens, hidden]; adds
// what shows to `observation` (with `pairs` in their order). Scores depend on the key format only,
// so this costs one softmax per key format and one value product per pair.
void ObserveLayer(const Decoder& decoder, size_t layer, at::Tensor& hidden,
                  std::span<const PrecisionPair> pairs, int64_t exact_queries,
                  LayerObservation& observation);

// The same pass, keeping what the layer computes.
LayerStates ObserveStates(const Decoder& decoder, size_t layer, at::Tensor& hidden);

}  // namespace kvtune
