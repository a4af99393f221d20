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
  std::vector<LayerWeights> layers;  // empty places when the layers are streamed
  bool streamed = false;
  NormWeights final_norm;  // [hidden]
  at::Tensor head;         // [vocab, hidden]; the embedding itself when the two are tied
};

// Loads the weights and converts them to the type and device of `options`. Throws Error naming a
// tensor that is missing or misshapen or that holds NaN or infinity.
ModelWeights LoadWeights(const Checkpoint& checkpoint, const at::TensorOptions& options,
                         WeightMode mode);

// Reads one layer from the file. Throws Error as LoadWeights does. Thread-safe.
LayerWeights LoadLayer(const Checkpoint& checkpoint, const at::TensorOptions& options,
                       size_t index);

}  // namespace kvtune
