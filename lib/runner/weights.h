// The decoder's weights on their device.
#pragma once

#include <vector>

#include "lib/core/model_options.h"
#include "lib/io/checkpoint.h"
#include "lib/runner/layer_weights.h"
#include "lib/runner/torch.h"

namespace kvtune {

struct ModelWeights {
  at::Tensor embedding;              // [vocab, hidden]
  std::vector<LayerWeights> layers;  // streamed: places without tensors
  bool streamed = false;
  NormWeights final_norm;  // [hidden]
  at::Tensor head;         // [vocab, hidden]; the embedding itself when tied
};

// Converts to `options`' type and device. Throws Error for a missing or misshapen tensor and for
// one that holds NaN or infinity, naming it.
ModelWeights LoadWeights(const Checkpoint& checkpoint, const at::TensorOptions& options,
                         WeightMode mode);

// One layer alone, read from the file. Throws Error as LoadWeights. Thread-safe.
LayerWeights LoadLayer(const Checkpoint& checkpoint, const at::TensorOptions& options,
                       size_t index);

}  // namespace kvtune
