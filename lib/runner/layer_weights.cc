#include "lib/runner/layer_weights.h"

#include <string>
#include <utility>
#include <vector>

namespace kvtune {
namespace {

// Several matrices of one input as one, below each other; vectors for `columns` = 0.
at::Tensor ReadFused(const TensorReader& reader,
                     const std::vector<std::pair<std::string, int64_t>>& names_and_rows,
                     int64_t columns) {
  std::vector<at::Tensor> parts;
  for (const auto& [name, rows] : names_and_rows) {
    parts.push_back(columns == 0 ? reader.Read(name, {rows}) : reader.Read(name, {rows, columns}));
  }
  return at::cat(parts, 0);
}

class LayerLoader {
 public:
  LayerLoader(const TensorReader& reader, const ModelConfig& config, int64_t index)
      : reader_(reader),
        config_(config),
        shape_(config.layers[static_cast<size_t>(index)]),
        layer_("model.layers." + std::to_string(index) + ".") {}

  LayerWeights Load() {
    LoadNorms();
    LoadAttention();
    if (shape_.has_experts) {
      LoadExperts();
    } else {
      LoadMlp();
    }
    return std::move(weights_);
  }

 private:
  at::Tensor Norm(const std::string& name, int64_t size) const {
    return LoadNorm(reader_, config_, layer_ + name + ".weight", size);
  }

  void LoadNorms() {
    const int64_t hidden = config_.hidden_size;
    switch (config_.norm_placement) {
      case NormPlacement::kBefore:
        weights_.input_norm = Norm("input_layernorm", hidden);
        weights_.mlp_norm = Norm("post_attention_layernorm", hidden);
        break;
      case NormPlacement::kAfter:
        weights_.attention_output_norm = Norm("post_attention_layernorm", hidden);
        weights_.mlp_output_norm = Norm("post_feedforward_layernorm", hidden);
        break;
      case NormPlacement::kAround:
        weights_.input_norm = Norm("input_layernorm", hidden);
        weights_.attention_output_norm = Norm("post_attention_layernorm", hidden);
        weights_.mlp_norm = Norm("pre_feedforward_layernorm", hidden);
        weights_.mlp_output_norm = Norm("post_feedforward_layernorm", hidden);
        break;
    }
  }

  void LoadAttention() {
    const std::string attention = layer_ + "self_attn.";
    const int64_t hidden = config_.hidden_size;
    const int64_t queries = config_.query_heads * shape_.key_head_dim;
    const int64_t keys = shape_.kv_width(KvSide::kKey), values = shape_.kv_width(KvSide::kValue);
    if (config_.fused_projections) {
      weights_.qkv = reader_.Read(attention + "qkv_proj.weight", {queries + keys + values, hidden});
    } else {
      weights_.qkv = ReadFused(reader_,
                               {{attention + "q_proj.weight", queries},
                                {attention + "k_proj.weight", keys},
                                {attention + "v_proj.weight", values}},
                               hidden);
    }
    if (config_.query_key_value_bias) {
      weights_.qkv_bias = ReadFused(reader_,
                                    {{attention + "q_proj.bias", queries},
                                     {attention + "k_proj.bias", keys},
                                     {attention + "v_proj.bias", values}},
                                    0);
      weights_.key_bias_norm =
          weights_.qkv_bias.narrow(0, queries, keys).to(at::kDouble).norm().item<double>();
    }
    if (config_.query_key_norm != QueryKeyNorm::kNone) {
      const bool per_head = config_.query_key_norm == QueryKeyNorm::kPerHead;
      weights_.query_norm = Norm("self_attn.q_norm", per_head ? shape_.key_head_dim : queries);
      weights_.key_norm = Norm("self_attn.k_norm", per_head ? shape_.key_head_dim : keys);
    }
    if (config_.attention_sinks)
      weights_.sinks = reader_.Read(attention + "sinks", {config_.query_heads});
    weights_.output = reader_.Read(attention + "o_proj.weight",
                                   {hidden, config_.query_heads * shape_.value_head_dim});
    if (config_.output_bias)
      weights_.output_bias = reader_.Read(attention + "o_proj.bias", {hidden});
  }

  void LoadMlp() {
    const std::string mlp = layer_ + "mlp.";
    const int64_t hidden = config_.hidden_size, width = config_.intermediate_size;
    if (config_.fused_projections) {
      weights_.gate_up = reader_.Read(mlp + "gate_up_proj.weight", {2 * width, hidden});
    } else {
      weights_.gate_up = ReadFused(
          reader_, {{mlp + "gate_proj.weight", width}, {mlp + "up_proj.weight", width}}, hidden);
    }
    weights_.down = reader_.Read(mlp + "down_proj.weight", {hidden, width});
    if (config_.mlp_bias) {
      weights_.gate_up_bias =
          ReadFused(reader_, {{mlp + "gate_proj.bias", width}, {mlp + "up_proj.bias", width}}, 0);
      weights_.down_bias = reader_.Read(mlp + "down_proj.bias", {hidden});
    }
  }

  void LoadExperts() {
    switch (config_.experts.layout) {
      case ExpertLayout::kMixtral:
        return LoadSeparateExperts("block_sparse_moe.", "w1", "w3", "w2");
      case ExpertLayout::kQwen:
        return LoadSeparateExperts("mlp.", "gate_proj", "up_proj", "down_proj");
      case ExpertLayout::kGptOss:
        return LoadStackedExperts();
    }
  }

  void LoadSeparateExperts(const std::string& block, const std::string& gate, const std::string& up,
                           const std::string& down) {
    const ExpertConfig& experts = config_.experts;
    const int64_t hidden = config_.hidden_size, width = experts.intermediate_size;
    weights_.router = reader_.Read(layer_ + block + "gate.weight", {experts.count, hidden});
    std::vector<at::Tensor> gate_ups, downs;
    for (int64_t i = 0; i < experts.count; ++i) {
      const std::string expert = layer_ + block + "experts." + std::to_string(i) + ".";
      gate_ups.push_back(ReadFused(
          reader_, {{expert + gate + ".weight", width}, {expert + up + ".weight", width}}, hidden));
      downs.push_back(reader_.Read(expert + down + ".weight", {hidden, width}));
    }
    weights_.gate_up = at::stack(gate_ups);
    weights_.down = at::stack(downs);
  }

  // In the file a gate channel is followed by its up channel, and matrices map from left to right.
  void LoadStackedExperts() {
    const std::string mlp = layer_ + "mlp.";
    const int64_t count = config_.experts.count;
    const int64_t hidden = config_.hidden_size, width = config_.experts.intermediate_size;
    weights_.router = reader_.Read(mlp + "router.weight", {count, hidden});
    weights_.router_bias = reader_.Read(mlp + "router.bias", {count});
    const at::Tensor gate_up =
        reader_.Read(mlp + "experts.gate_up_proj", {count, hidden, 2 * width});
    weights_.gate_up = gate_up.view({count, hidden, width, 2})
                           .permute({0, 3, 2, 1})
                           .reshape({count, 2 * width, hidden});
    weights_.gate_up_bias = reader_.Read(mlp + "experts.gate_up_proj_bias", {count, 2 * width})
                                .view({count, width, 2})
                                .transpose(1, 2)
                                .reshape({count, 2 * width});
    weights_.down = reader_.Read(mlp + "experts.down_proj", {count, width, hidden})
                        .transpose(1, 2)
                        .contiguous();
    weights_.down_bias = reader_.Read(mlp + "experts.down_proj_bias", {count, hidden});
  }

  const TensorReader& reader_;
  const ModelConfig& config_;
  const LayerConfig& shape_;
  std::string layer_;
  LayerWeights weights_;
};

}  // namespace

LayerWeights LoadLayer(const TensorReader& reader, const ModelConfig& config, int64_t index) {
  return LayerLoader(reader, config, index).Load();
}

at::Tensor LoadNorm(const TensorReader& reader, const ModelConfig& config, const std::string& name,
                    int64_t size) {
  const at::Tensor weight = reader.Read(name, {size});
  if (!config.norms_add_one) return weight;
  // In float32 or wider: half precision would lose what the weight adds to 1.
  return weight.to(at::promote_types(weight.scalar_type(), at::kFloat)) + 1;
}

}  // namespace kvtune
