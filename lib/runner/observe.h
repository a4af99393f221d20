// Sensitivity: how each precision pair disturbs a layer's attention, seen from the exact model.
#pragma once

#include <span>

#include "lib/runner/decoder.h"
#include "lib/runner/model_runner.h"

namespace kvtune {

// One exact pass over a prompt; adds what every layer shows to `observations` (one a layer, with
// `pairs` in their order). Scores depend on the key format only, so a layer costs one softmax per key
// format and one value product per pair.
void ObservePrompt(const Decoder& decoder, const TokenIds& prompt, std::span<const PrecisionPair> pairs,
                   int64_t exact_queries, std::span<LayerObservation> observations);

}  // namespace kvtune
