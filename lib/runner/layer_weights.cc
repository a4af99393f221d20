#include "lib/runner/layer_weights.h"

#include <string>
#include <utility>
#include <vector>

namespace kvtune {
namespace {

// Reads several matrices that share an input as one matrix, stacked below each other. With
// `columns` = 0 it reads vectors.
at::Tensor ReadFused(const TensorReader& reader,
                     const std::vector<std::pair<std::string, int64_t>>& names_and_rows,
                     int64_t columns) {
  std::vector<at::Tensor> parts;
  for (const auto& [name, rows] : names_and_rows) {
    parts.push_back(columns == 0 ? reader.Read(name, {rows}) : reader.Read(name, {rows, columns}));
  }
  return at::cat(parts, 0);
}

// Norms are kept in float32 or wider, because half precision would lose what the weight adds to 1.
at::Tensor ReadNorm(const TensorReader& reader, const ModelConfig& config, const std::string& name,
                    int64_t size) {
  const at::Tensor weight = reader.Read(name, {size});
  if (!config.norms_add_one) return weight;
  return weight.to(at::promote_types(weight.scalar_type(), at::kFloat)) + 1;
}

// Returns an order of the rows of queries, keys and values for a checkpoint that stores the two
// channels of each rotary pair next to each other. In this order, the first channels of all pairs
// of a head come before all second channels.
at::Tensor RowsByHalves(const LayerConfig& layer, int64_t query_heads, int64_t rotary_dim) {
  std::vector<int64_t> rows;
  const int64_t width = layer.key_head_dim;
  for (int64_t head = 0; head < query_heads + layer.kv_heads; ++head) {
    for (int64_t channel = 0; channel < width; ++channel) {
      const int64_t half = rotary_dim / 2;
      const int64_t source = channel >= rotary_dim ? channel
                             : channel < half      ? 2 * channel
                                                   : 2 * (channel - half) + 1;
      rows.push_back(head * width + source);
    }
  }
  const auto first_value = static_cast<int64_t>(rows.size());
  for (int64_t i = 0; i < layer.kv_width(KvSide::kValue); ++i) rows.push_back(first_value + i);
  return at::from_blob(rows.data(), {static_cast<int64_t>(rows.size())}, at::kLong).clone();
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
  NormWeights Norm(const std::string& name) const {
    return LoadNorm(reader_, config_, layer_ + name);
  }

  void LoadNorms() {
    switch (config_.norm_placement) {
      case NormPlacement::kBefore:
        weights_.input_norm = Norm("input_layernorm");
        weights_.mlp_norm = Norm("post_attention_layernorm");
        break;
      case NormPlacement::kAfter:
        weights_.attention_output_norm = Norm("post_attention_layernorm");
        weights_.mlp_output_norm = Norm("post_feedforward_layernorm");
        break;
      case NormPlacement::kAround:
        weights_.input_norm = Norm("input_layernorm");
        weights_.attention_output_norm = Norm("post_attention_layernorm");
        weights_.mlp_norm = Norm("pre_feedforward_layernorm");
        weights_.mlp_output_norm = Norm("post_feedforward_layernorm");
        break;
      case NormPlacement::kAroundGlm:
        weights_.input_norm = Norm("input_layernorm");
        weights_.attention_output_norm = Norm("post_self_attn_layernorm");
        weights_.mlp_norm = Norm("post_attention_layernorm");
        weights_.mlp_output_norm = Norm("post_mlp_layernorm");
        break;
      case NormPlacement::kParallel:
        weights_.input_norm = Norm("input_layernorm");
        break;
    }
  }

  void LoadAttention() {
    const std::string attention = layer_ + "self_attn.";
    const int64_t hidden = config_.hidden_size;
    const int64_t queries = config_.query_heads * shape_.key_head_dim;
    const int64_t keys = shape_.kv_width(KvSide::kKey), values = shape_.kv_width(KvSide::kValue);
    if (config_.fused_query_key_value) {
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
    if (config_.rotary_neighbours && shape_.rope) {
      const at::Tensor rows =
          RowsByHalves(shape_, config_.query_heads, config_.ropes[*shape_.rope].rotary_dim)
              .to(weights_.qkv.device());
      weights_.qkv = weights_.qkv.index_select(0, rows);
      if (weights_.qkv_bias.defined()) weights_.qkv_bias = weights_.qkv_bias.index_select(0, rows);
    }
    LoadQueryKeyNorms();
    if (config_.attention_sinks)
      weights_.sinks = reader_.Read(attention + "sinks", {config_.query_heads});
    weights_.output = reader_.Read(attention + "o_proj.weight",
                                   {hidden, config_.query_heads * shape_.value_head_dim});
    if (config_.output_bias)
      weights_.output_bias = reader_.Read(attention + "o_proj.bias", {hidden});
  }

  void LoadQueryKeyNorms() {
    const bool rotated = config_.query_key_norm == QueryKeyNorm::kPerHeadRotated;
    const auto read = [&](const std::string& name, int64_t size) {
      return ReadNorm(reader_, config_, layer_ + "self_attn." + name + ".weight", size);
    };
    switch (config_.query_key_norm) {
      case QueryKeyNorm::kNone:
        return;
      case QueryKeyNorm::kPerHead:
      case QueryKeyNorm::kPerHeadRotated:
        weights_.query_norm = read(rotated ? "query_layernorm" : "q_norm", shape_.key_head_dim);
        weights_.key_norm = read(rotated ? "key_layernorm" : "k_norm", shape_.key_head_dim);
        return;
      case QueryKeyNorm::kWholeWidth:
        weights_.query_norm = read("q_norm", config_.query_heads * shape_.key_head_dim);
        weights_.key_norm = read("k_norm", shape_.kv_width(KvSide::kKey));
        return;
    }
  }

  // Without a gate, gate_up holds the up projection alone.
  void LoadPlainMlp(const std::string& up, const std::string& down) {
    const int64_t hidden = config_.hidden_size, width = config_.intermediate_size;
    weights_.gate_up = reader_.Read(up + ".weight", {width, hidden});
    weights_.down = reader_.Read(down + ".weight", {hidden, width});
    if (config_.mlp_bias) {
      weights_.gate_up_bias = reader_.Read(up + ".bias", {width});
      weights_.down_bias = reader_.Read(down + ".bias", {hidden});
    }
  }

  void LoadMlp() {
    const std::string mlp = layer_ + "mlp.";
    if (config_.mlp == MlpLayout::kPlain) return LoadPlainMlp(mlp + "up_proj", mlp + "down_proj");
    if (config_.mlp == MlpLayout::kPlainStarcoder)
      return LoadPlainMlp(mlp + "c_fc", mlp + "c_proj");
    const int64_t hidden = config_.hidden_size, width = config_.intermediate_size;
    if (config_.mlp == MlpLayout::kFusedGated) {
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
    if (experts.shared_intermediate_size > 0) LoadSharedExpert(layer_ + block + "shared_expert");
  }

  void LoadSharedExpert(const std::string& name) {
    const int64_t hidden = config_.hidden_size, width = config_.experts.shared_intermediate_size;
    weights_.shared_gate_up = ReadFused(
        reader_, {{name + ".gate_proj.weight", width}, {name + ".up_proj.weight", width}}, hidden);
    weights_.shared_down = reader_.Read(name + ".down_proj.weight", {hidden, width});
    weights_.shared_gate = reader_.Read(name + "_gate.weight", {1, hidden});
  }

  // In the file, each gate channel is followed by its up channel, and a matrix W is applied as x W
  // rather than x W^T. So the channels are separated and the matrices transposed here.
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

NormWeights LoadNorm(const TensorReader& reader, const ModelConfig& config,
                     const std::string& name) {
  NormWeights norm;
  norm.weight = ReadNorm(reader, config, name + ".weight", config.hidden_size);
  if (config.norm_kind == NormKind::kLayerBiased)
    norm.bias = reader.Read(name + ".bias", {config.hidden_size});
  return norm;
}

}  // namespace kvtune
