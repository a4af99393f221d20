// The decoder's weights on their device.
#pragma once

#include <vector>

#include "lib/core/layer_split.h"
#include "lib/core/model_options.h"
#include "lib/io/checkpoint.h"
#include "lib/runner/layer_weights.h"
#include "lib/runner/torch.h"

namespace kvtune {

// Where layers are, when they are not all on the device of the options, which is stage 0. All else
// is there too.
struct Stages {
  std::vector<at::Device> devices;
  StageOfLayer of_layer;
};

// The devices that layers may be split over.
struct SplitChoice {
  int stages = 0;                        // ModelOptions::split_layers
  std::vector<at::Device> further = {};  // beside that of the options
};

struct ModelWeights {
  at::Tensor embedding;              // [vocab, hidden]
  std::vector<LayerWeights> layers;  // empty places when the layers are streamed
  bool streamed = false;
  Stages stages;
  NormWeights final_norm;  // [hidden]
  at::Tensor head;         // [vocab, hidden]; the embedding itself when the two are tied
};

// Loads the weights and converts them to the type and device of `options`, or splits the layers
// over that and further devices. Throws Error naming a tensor that is missing or misshapen or that
// holds NaN or infinity.
ModelWeights LoadWeights(const Checkpoint& checkpoint, const at::TensorOptions& options,
                         WeightMode mode, const SplitChoice& split);

// Reads one layer from the file. Throws Error as LoadWeights does. Thread-safe.
LayerWeights LoadLayer(const Checkpoint& checkpoint, const at::TensorOptions& options,
                       size_t index);

}  // namespace kvtune
