#include "lib/core/layer_split.h"

#include <algorithm>

namespace kvtune {

StageOfLayer SplitEvenly(size_t layers, size_t stages) {
  StageOfLayer stage_of_layer;
  for (size_t layer = 0; layer < layers; ++layer) stage_of_layer.push_back(layer * stages / layers);
  return stage_of_layer;
}

std::optional<StageOfLayer> SplitByRoom(size_t layers, int64_t layer_bytes,
                                        std::span<const int64_t> room) {
  std::vector<size_t> fitting;  // layers, by device
  size_t total = 0;
  for (const int64_t bytes : room) {
    if (total >= layers) break;
    fitting.push_back(static_cast<size_t>(std::max<int64_t>(0, bytes) / layer_bytes));
    total += fitting.back();
  }
  if (total < layers) return std::nullopt;
  StageOfLayer stage_of_layer;
  size_t room_before = 0;
  for (size_t stage = 0; stage < fitting.size(); ++stage) {
    room_before += fitting[stage];
    // What lies between two shares that are rounded up is at most the device's own share rounded
    // up, and so no more than it has room for.
    const size_t end = (layers * room_before + total - 1) / total;
    while (stage_of_layer.size() < std::min(end, layers)) stage_of_layer.push_back(stage);
  }
  return stage_of_layer;
}

}  // namespace kvtune
