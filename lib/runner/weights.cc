#include "lib/runner/weights.h"

#include "lib/runner/device_memory.h"
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

// Of the tensors that make up nearly all of a layer.
int64_t BytesOf(const LayerWeights& weights) {
  size_t bytes = 0;
  for (const at::Tensor* tensor : {&weights.qkv, &weights.output, &weights.gate_up, &weights.down}) bytes += tensor->nbytes();
  return static_cast<int64_t>(bytes);
}

// Whether `count` layers like this one fit beside the rest: a third of the memory is for activations.
bool Fit(const LayerWeights& layer, size_t count, const at::Device& device) {
  return BytesOf(layer) * static_cast<int64_t>(count) <= FreeMemory(device) / 3 * 2;
}

}  // namespace

LayerWeights LoadLayer(const Checkpoint& checkpoint, const at::TensorOptions& options, size_t index) {
  return LoadLayer(TensorReader(checkpoint, options), checkpoint.config(), static_cast<int64_t>(index));
}

ModelWeights LoadWeights(const Checkpoint& checkpoint, const at::TensorOptions& options, WeightMode mode) {
  const ModelConfig& config = checkpoint.config();
  const TensorReader reader(checkpoint, options);
  ModelWeights weights;
  weights.embedding = reader.Read("model.embed_tokens.weight", {config.vocab_size, config.hidden_size});
  weights.final_norm = reader.Read("model.norm.weight", {config.hidden_size});
  weights.head = config.tied_embeddings
      ? weights.embedding
      : reader.Read("lm_head.weight", {config.vocab_size, config.hidden_size});
  weights.layers.resize(config.layers.size());
  weights.streamed = mode == WeightMode::kStream;
  for (size_t i = 0; i < weights.layers.size() && !weights.streamed; ++i) {
    weights.layers[i] = LoadLayer(checkpoint, options, i);
    if (i == 0 && mode == WeightMode::kAuto) {
      weights.streamed = !Fit(weights.layers[0], weights.layers.size(), options.device());
    }
  }
  if (weights.streamed) weights.layers.assign(weights.layers.size(), {});
  return weights;
}

}  // namespace kvtune
