#include "lib/runner/weights.h"

#include "lib/base/error.h"

namespace kvtune {
namespace {

at::ScalarType ScalarTypeOf(TensorType type) {
  switch (type) {
    case TensorType::kFloat32: return at::kFloat;
    case TensorType::kFloat16: return at::kHalf;
    case TensorType::kBFloat16: return at::kBFloat16;
  }
  return at::kFloat;
}

class Loader {
 public:
  Loader(const Checkpoint& checkpoint, const at::TensorOptions& options)
      : checkpoint_(checkpoint), options_(options) {}

  at::Tensor Load(const std::string& name, const std::vector<int64_t>& shape) const {
    const TensorView view = checkpoint_.Get(name, shape);
    // from_blob takes a mutable pointer but only reads: the map is private and read-only. A tensor
    // need not be aligned in the file, so it is copied byte by byte before it is converted.
    at::Tensor raw = at::empty(view.shape, at::TensorOptions(ScalarTypeOf(view.type)));
    std::memcpy(raw.mutable_data_ptr(), view.bytes.data(), view.bytes.size());
    at::Tensor tensor = raw.to(options_);
    if (!at::isfinite(tensor).all().item<bool>()) {
      throw Error("loading the model " + checkpoint_.directory().string() + ": tensor " + name +
                  ": found NaN or infinity, expected finite weights");
    }
    return tensor;
  }

  // Several matrices of one input as one, below each other.
  at::Tensor LoadFused(const std::vector<std::pair<std::string, int64_t>>& names_and_rows, int64_t columns) const {
    std::vector<at::Tensor> parts;
    for (const auto& [name, rows] : names_and_rows) {
      parts.push_back(columns == 0 ? Load(name, {rows}) : Load(name, {rows, columns}));
    }
    return at::cat(parts, 0);
  }

 private:
  const Checkpoint& checkpoint_;
  at::TensorOptions options_;
};

LayerWeights LoadLayer(const Loader& loader, const ModelConfig& config, int64_t index) {
  const std::string layer = "model.layers." + std::to_string(index) + ".";
  const std::string attention = layer + "self_attn.";
  const std::string mlp = layer + "mlp.";
  const int64_t hidden = config.hidden_size;
  const int64_t query_width = config.query_heads * config.head_dim;
  const int64_t kv_width = config.kv_width();

  LayerWeights weights;
  weights.input_norm = loader.Load(layer + "input_layernorm.weight", {hidden});
  weights.qkv = loader.LoadFused({{attention + "q_proj.weight", query_width},
                                  {attention + "k_proj.weight", kv_width},
                                  {attention + "v_proj.weight", kv_width}}, hidden);
  if (config.query_key_value_bias) {
    weights.qkv_bias = loader.LoadFused({{attention + "q_proj.bias", query_width},
                                         {attention + "k_proj.bias", kv_width},
                                         {attention + "v_proj.bias", kv_width}}, 0);
    weights.key_bias_norm =
        weights.qkv_bias.narrow(0, query_width, kv_width).to(at::kDouble).norm().item<double>();
  }
  weights.output = loader.Load(attention + "o_proj.weight", {hidden, query_width});
  if (config.output_bias) weights.output_bias = loader.Load(attention + "o_proj.bias", {hidden});
  weights.mlp_norm = loader.Load(layer + "post_attention_layernorm.weight", {hidden});
  weights.gate_up = loader.LoadFused({{mlp + "gate_proj.weight", config.intermediate_size},
                                      {mlp + "up_proj.weight", config.intermediate_size}}, hidden);
  weights.down = loader.Load(mlp + "down_proj.weight", {hidden, config.intermediate_size});
  if (config.mlp_bias) {
    weights.gate_up_bias = loader.LoadFused({{mlp + "gate_proj.bias", config.intermediate_size},
                                             {mlp + "up_proj.bias", config.intermediate_size}}, 0);
    weights.down_bias = loader.Load(mlp + "down_proj.bias", {hidden});
  }
  return weights;
}

}  // namespace

ModelWeights LoadWeights(const Checkpoint& checkpoint, const at::TensorOptions& options) {
  const ModelConfig& config = checkpoint.config();
  const Loader loader(checkpoint, options);
  ModelWeights weights;
  weights.embedding = loader.Load("model.embed_tokens.weight", {config.vocab_size, config.hidden_size});
  for (int64_t i = 0; i < config.layer_count; ++i) weights.layers.push_back(LoadLayer(loader, config, i));
  weights.final_norm = loader.Load("model.norm.weight", {config.hidden_size});
  weights.head = config.tied_embeddings
      ? weights.embedding
      : loader.Load("lm_head.weight", {config.vocab_size, config.hidden_size});
  return weights;
}

}  // namespace kvtune
