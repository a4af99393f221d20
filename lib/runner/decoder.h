// The decoder stack without its attention: what happens to each token on its own.
//
// Rows of several sequences (the same prompt under several plans) go through a layer's weights in one
// pass.
#pragma once

#include "lib/runner/rotary.h"
#include "lib/runner/torch.h"
#include "lib/runner/weights.h"

namespace kvtune {

struct QueryKeyValue {
  at::Tensor query;  // [sequences, query_heads, tokens, key_head_dim], rotated and scaled by key_head_dim^-1/2
  at::Tensor key;    // [sequences, kv_heads, tokens, key_head_dim], rotated
  at::Tensor value;  // [sequences, kv_heads, tokens, value_head_dim]
};

class Decoder {
 public:
  // REQUIRES: checkpoint outlives the decoder.
  Decoder(const Checkpoint& checkpoint, const at::TensorOptions& options, WeightMode mode = WeightMode::kResident);

  const ModelConfig& config() const { return config_; }
  const at::TensorOptions& options() const { return options_; }
  double key_bias_norm(size_t layer) const { return weights_.layers[layer].key_bias_norm; }

  // Whether layers have their weights only while a LayerStream keeps them in place.
  bool streams() const { return weights_.streamed; }
  LayerWeights ReadLayer(size_t layer) const { return LoadLayer(checkpoint_, options_, layer); }
  void PlaceLayer(size_t layer, LayerWeights weights) { weights_.layers[layer] = std::move(weights); }

  // On the decoder's device, [tokens] of int64.
  at::Tensor IdsOf(const std::vector<int32_t>& prompt) const;
  // ids: [rows] of int64 -> [rows, hidden]
  at::Tensor Embed(const at::Tensor& ids) const;
  // hidden: [sequences, tokens, hidden], of the positions first_position, first_position + 1, ...
  QueryKeyValue ProjectQueryKeyValue(size_t layer, const at::Tensor& hidden, int64_t first_position) const;
  // Adds the projected attention and then the MLP to `hidden`, in place.
  // attention: [rows, query_heads * value_head_dim]
  void AddAttentionAndMlp(size_t layer, at::Tensor& hidden, const at::Tensor& attention) const;
  // hidden: [rows, hidden] -> [rows, hidden]
  at::Tensor FinalNorm(const at::Tensor& hidden) const;
  // normed: output of FinalNorm -> [rows, vocab]
  at::Tensor Logits(const at::Tensor& normed) const;

 private:
  at::Tensor RmsNorm(const at::Tensor& hidden, const at::Tensor& weight) const;
  // silu(gate) * up. gate_up: [rows, 2 intermediate] -> [rows, intermediate]
  at::Tensor GatedSilu(const at::Tensor& gate_up) const;

  const Checkpoint& checkpoint_;
  ModelConfig config_;
  at::TensorOptions options_;
  ModelWeights weights_;
  RotaryTables rotary_;
  int64_t row_chunk_;  // rows that go through an MLP together: its widest activation stays in cache
};

}  // namespace kvtune
