// One layer's weights on their device, with the projections that share an input fused.
#pragma once

#include "lib/core/model_config.h"
#include "lib/runner/tensor_reader.h"
#include "lib/runner/torch.h"

namespace kvtune {

// What a norm multiplies by and what it adds. A tensor the model lacks is undefined.
struct NormWeights {
  at::Tensor weight;
  at::Tensor bias;

  bool defined() const { return weight.defined(); }
};

// A tensor the model lacks is undefined. In a layer with experts, gate_up, down and their biases
// have one more dimension in front: [experts, ...].
struct LayerWeights {
  NormWeights input_norm;  // [hidden], before attention
  // [queries + keys + values, hidden]; each of the three has as many rows as its heads times its
  // head_dim.
  at::Tensor qkv;
  at::Tensor qkv_bias;                // [queries + keys + values]
  at::Tensor query_norm;              // [key_head_dim] or [queries]
  at::Tensor key_norm;                // [key_head_dim] or [keys]
  at::Tensor sinks;                   // [query_heads]
  at::Tensor output;                  // [hidden, query_heads value_head_dim]
  at::Tensor output_bias;             // [hidden]
  NormWeights attention_output_norm;  // [hidden], before the residual sum
  NormWeights mlp_norm;               // [hidden], before the MLP
  at::Tensor router;                  // [experts, hidden]
  at::Tensor router_bias;             // [experts]
  at::Tensor gate_up;                 // [2 intermediate, hidden], the gate before the up projection
  at::Tensor gate_up_bias;            // [2 intermediate]
  at::Tensor down;                    // [hidden, intermediate]
  at::Tensor down_bias;               // [hidden]
  NormWeights mlp_output_norm;        // [hidden], before the residual sum
  // The MLP beside the experts, laid out like gate_up and down of one expert.
  // shared_gate is [1, hidden].
  at::Tensor shared_gate_up;
  at::Tensor shared_down;
  at::Tensor shared_gate;
  double key_bias_norm = 0;  // L2 norm of the key part of qkv_bias
};

// Reads a layer from the checkpoint by the names that the config's family uses. Throws Error naming
// a tensor that is missing or misshapen or that holds NaN or infinity.
LayerWeights LoadLayer(const TensorReader& reader, const ModelConfig& config, int64_t index);

// Reads the norm `name` ("model.norm") of hidden states as the decoder applies it. Both tensors are
// [hidden].
NormWeights LoadNorm(const TensorReader& reader, const ModelConfig& config,
                     const std::string& name);

}  // namespace kvtune
