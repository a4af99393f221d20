#include "lib/runner/weights.h"

#include "lib/runner/tensor_reader.h"

namespace kvtune {
namespace {

// Several matrices of one input as one, below each other; vectors for `columns` = 0.
at::Tensor ReadFused(const TensorReader& reader, const std::vector<std::pair<std::string, int64_t>>& names_and_rows,
                     int64_t columns) {
  std::vector<at::Tensor> parts;
  for (const auto& [name, rows] : names_and_rows) {
    parts.push_back(columns == 0 ? reader.Read(name, {rows}) : reader.Read(name, {rows, columns}));
  }
  return at::cat(parts, 0);
}

LayerWeights LoadLayer(const TensorReader& reader, const ModelConfig& config, int64_t index) {
  const std::string layer = "model.layers." + std::to_string(index) + ".";
  const std::string attention = layer + "self_attn.";
  const std::string mlp = layer + "mlp.";
  const LayerConfig& shape = config.layers[static_cast<size_t>(index)];
  const int64_t hidden = config.hidden_size;
  const int64_t query_width = config.query_heads * shape.key_head_dim;
  const int64_t key_width = shape.kv_width(KvSide::kKey);
  const int64_t value_width = shape.kv_width(KvSide::kValue);

  LayerWeights weights;
  weights.input_norm = reader.Read(layer + "input_layernorm.weight", {hidden});
  weights.qkv = ReadFused(reader, {{attention + "q_proj.weight", query_width},
                                  {attention + "k_proj.weight", key_width},
                                  {attention + "v_proj.weight", value_width}}, hidden);
  if (config.query_key_value_bias) {
    weights.qkv_bias = ReadFused(reader, {{attention + "q_proj.bias", query_width},
                                         {attention + "k_proj.bias", key_width},
                                         {attention + "v_proj.bias", value_width}}, 0);
    weights.key_bias_norm =
        weights.qkv_bias.narrow(0, query_width, key_width).to(at::kDouble).norm().item<double>();
  }
  weights.output = reader.Read(attention + "o_proj.weight", {hidden, config.query_heads * shape.value_head_dim});
  if (config.output_bias) weights.output_bias = reader.Read(attention + "o_proj.bias", {hidden});
  weights.mlp_norm = reader.Read(layer + "post_attention_layernorm.weight", {hidden});
  weights.gate_up = ReadFused(reader, {{mlp + "gate_proj.weight", config.intermediate_size},
                                      {mlp + "up_proj.weight", config.intermediate_size}}, hidden);
  weights.down = reader.Read(mlp + "down_proj.weight", {hidden, config.intermediate_size});
  if (config.mlp_bias) {
    weights.gate_up_bias = ReadFused(reader, {{mlp + "gate_proj.bias", config.intermediate_size},
                                             {mlp + "up_proj.bias", config.intermediate_size}}, 0);
    weights.down_bias = reader.Read(mlp + "down_proj.bias", {hidden});
  }
  return weights;
}

}  // namespace

ModelWeights LoadWeights(const Checkpoint& checkpoint, const at::TensorOptions& options) {
  const ModelConfig& config = checkpoint.config();
  const TensorReader reader(checkpoint, options);
  ModelWeights weights;
  weights.embedding = reader.Read("model.embed_tokens.weight", {config.vocab_size, config.hidden_size});
  for (int64_t i = 0; i < config.layer_count(); ++i) weights.layers.push_back(LoadLayer(reader, config, i));
  weights.final_norm = reader.Read("model.norm.weight", {config.hidden_size});
  weights.head = config.tied_embeddings
      ? weights.embedding
      : reader.Read("lm_head.weight", {config.vocab_size, config.hidden_size});
  return weights;
}

}  // namespace kvtune
