// Which device holds which layers of a model that is larger than the memory of one.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace kvtune {

// The stage of every layer: neighbouring layers stand together, and stage 0 comes first.
using StageOfLayer = std::vector<size_t>;

// Splits `layers` into `stages` parts of about as many layers each. REQUIRES: 0 < stages <= layers.
StageOfLayer SplitEvenly(size_t layers, size_t stages);

// Splits `layers` of `layer_bytes` each over the first devices, as few as have room for them, and
// fills these alike. `room` holds the bytes that layers may take of each device. Returns nullopt
// where all of them together have too little. REQUIRES: layer_bytes > 0.
std::optional<StageOfLayer> SplitByRoom(size_t layers, int64_t layer_bytes,
                                        std::span<const int64_t> room);

}  // namespace kvtune
