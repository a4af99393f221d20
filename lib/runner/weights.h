// The decoder's weights on their device, with the projections that share an input fused.
#pragma once

#include <vector>

#include "lib/io/checkpoint.h"
#include "lib/runner/model_runner.h"
#include "lib/runner/torch.h"

namespace kvtune {

struct LayerWeights {
  at::Tensor input_norm;       // [hidden]
  at::Tensor qkv;              // [queries + keys + values, hidden], each heads times head_dim
  at::Tensor qkv_bias;         // [queries + keys + values] or undefined
  at::Tensor output;           // [hidden, query_heads value_head_dim]
  at::Tensor output_bias;      // [hidden] or undefined
  at::Tensor mlp_norm;         // [hidden]
  at::Tensor gate_up;          // [2 intermediate, hidden]: gate, up
  at::Tensor gate_up_bias;     // [2 intermediate] or undefined
  at::Tensor down;             // [hidden, intermediate]
  at::Tensor down_bias;        // [hidden] or undefined
  double key_bias_norm = 0;    // L2 norm of the key part of qkv_bias
};

struct ModelWeights {
  at::Tensor embedding;        // [vocab, hidden]
  std::vector<LayerWeights> layers;  // streamed: places without tensors
  bool streamed = false;
  at::Tensor final_norm;       // [hidden]
  at::Tensor head;             // [vocab, hidden]; the embedding itself when tied
};

// Converts to `options`' type and device. Throws Error for a missing or misshapen tensor and for
// one that holds NaN or infinity, naming it.
ModelWeights LoadWeights(const Checkpoint& checkpoint, const at::TensorOptions& options, WeightMode mode);

// One layer alone, read from the file. Throws Error as LoadWeights. Thread-safe.
LayerWeights LoadLayer(const Checkpoint& checkpoint, const at::TensorOptions& options, size_t index);

}  // namespace kvtune
