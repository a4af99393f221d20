// One layer's weights on their device, with the projections that share an input fused.
#pragma once

#include "lib/core/model_config.h"
#include "lib/runner/tensor_reader.h"
#include "lib/runner/torch.h"

namespace kvtune {

// Tensors that the model has not are undefined. With experts, gate_up and down and their biases
// have a dimension more in front: [experts, ...].
struct LayerWeights {
  at::Tensor input_norm;             // [hidden], before attention
  at::Tensor qkv;                    // [queries + keys + values, hidden], each heads times head_dim
  at::Tensor qkv_bias;               // [queries + keys + values]
  at::Tensor query_norm;             // [key_head_dim] or [queries]
  at::Tensor key_norm;               // [key_head_dim] or [keys]
  at::Tensor sinks;                  // [query_heads]
  at::Tensor output;                 // [hidden, query_heads value_head_dim]
  at::Tensor output_bias;            // [hidden]
  at::Tensor attention_output_norm;  // [hidden], before the sum
  at::Tensor mlp_norm;               // [hidden], before the MLP
  at::Tensor router;                 // [experts, hidden]
  at::Tensor router_bias;            // [experts]
  at::Tensor gate_up;                // [2 intermediate, hidden]: gate, up
  at::Tensor gate_up_bias;           // [2 intermediate]
  at::Tensor down;                   // [hidden, intermediate]
  at::Tensor down_bias;              // [hidden]
  at::Tensor mlp_output_norm;        // [hidden], before the sum
  double key_bias_norm = 0;          // L2 norm of the key part of qkv_bias
};

// Reads a layer from the checkpoint by the names that the config's family uses. Throws Error for a
// missing or misshapen tensor and for one that holds NaN or infinity, naming it.
LayerWeights LoadLayer(const TensorReader& reader, const ModelConfig& config, int64_t index);

// A norm's weight, as RmsNorm takes it: [size].
at::Tensor LoadNorm(const TensorReader& reader, const ModelConfig& config, const std::string& name,
                    int64_t size);

}  // namespace kvtune
