#include "lib/runner/decoder.h"

#include <algorithm>
#include <cmath>

#include "lib/runner/row_kernels_cpu.h"

namespace kvtune {
namespace {

// Elements of an MLP's widest activation that are alive at a time.
constexpr int64_t kCpuChunkElements = 1 << 20;
constexpr int64_t kCudaChunkElements = 1 << 29;

bool UsesCpuKernels(const at::Tensor& x) { return x.device().is_cpu() && x.scalar_type() == at::kFloat; }

}  // namespace

Decoder::Decoder(const Checkpoint& checkpoint, const at::TensorOptions& options, WeightMode mode)
    : checkpoint_(checkpoint),
      config_(checkpoint.config()),
      options_(options),
      weights_(LoadWeights(checkpoint, options, mode)),
      rotary_(MakeRotaryTables(config_.ropes.front(), config_.max_position_embeddings, options)) {
  const int64_t elements = options.device().is_cpu() ? kCpuChunkElements : kCudaChunkElements;
  row_chunk_ = std::max<int64_t>(64, elements / (2 * config_.intermediate_size));
}

// Statistics in float32 or wider, as transformers' LlamaRMSNorm.
at::Tensor Decoder::RmsNorm(const at::Tensor& hidden, const at::Tensor& weight) const {
  if (UsesCpuKernels(hidden)) {
    const at::Tensor rows = hidden.contiguous();
    at::Tensor out = at::empty_like(rows);
    RmsNormRows(rows.const_data_ptr<float>(), weight.const_data_ptr<float>(), out.mutable_data_ptr<float>(),
                rows.numel() / rows.size(-1), rows.size(-1), static_cast<float>(config_.rms_norm_eps));
    return out;
  }
  const at::Tensor wide = hidden.to(at::promote_types(hidden.scalar_type(), at::kFloat));
  const at::Tensor variance = (wide * wide).mean(-1, /*keepdim=*/true);
  const at::Tensor normed = wide * at::rsqrt(variance.add_(config_.rms_norm_eps));
  return normed.to(hidden.scalar_type()) * weight;
}

at::Tensor Decoder::IdsOf(const std::vector<int32_t>& prompt) const {
  // from_blob takes a mutable pointer, but the conversion to int64 only reads.
  const at::Tensor ids =
      at::from_blob(const_cast<int32_t*>(prompt.data()), {static_cast<int64_t>(prompt.size())}, at::kInt);
  return ids.to(options_.device(), at::kLong);
}

at::Tensor Decoder::Embed(const at::Tensor& ids) const { return at::embedding(weights_.embedding, ids); }

QueryKeyValue Decoder::ProjectQueryKeyValue(size_t layer, const at::Tensor& hidden, int64_t first_position) const {
  const LayerConfig& shape = config_.layers[layer];
  const LayerWeights& weights = weights_.layers[layer];
  const int64_t sequences = hidden.size(0), tokens = hidden.size(1);
  const at::Tensor projected = at::linear(RmsNorm(hidden, weights.input_norm), weights.qkv, weights.qkv_bias);
  const RotaryTables angles{rotary_.cos.narrow(0, first_position, tokens),
                            rotary_.sin.narrow(0, first_position, tokens)};
  const double scale = 1.0 / std::sqrt(static_cast<double>(shape.key_head_dim));
  const int64_t first_key = config_.query_heads * shape.key_head_dim;
  const int64_t first_value = first_key + shape.kv_width(KvSide::kKey);
  if (UsesCpuKernels(projected)) {
    const auto gathered = [&](int64_t heads, int64_t head_dim) {
      return at::empty({sequences, heads, tokens, head_dim}, projected.options());
    };
    QueryKeyValue qkv{gathered(config_.query_heads, shape.key_head_dim), gathered(shape.kv_heads, shape.key_head_dim),
                      gathered(shape.kv_heads, shape.value_head_dim)};
    const float* source = projected.const_data_ptr<float>();
    const float* cos = angles.cos.const_data_ptr<float>();
    const float* sin = angles.sin.const_data_ptr<float>();
    HeadLayout layout{sequences, tokens, projected.size(2), 0, config_.query_heads, shape.key_head_dim};
    const int64_t rotary_dim = config_.ropes[*shape.rope].rotary_dim;
    GatherRotatedHeads(source, layout, rotary_dim, cos, sin, static_cast<float>(scale),
                       qkv.query.mutable_data_ptr<float>());
    layout.first_channel = first_key;
    layout.heads = shape.kv_heads;
    GatherRotatedHeads(source, layout, rotary_dim, cos, sin, 1.0f, qkv.key.mutable_data_ptr<float>());
    layout.first_channel = first_value;
    layout.head_dim = shape.value_head_dim;
    GatherHeads(source, layout, 1.0f, qkv.value.mutable_data_ptr<float>());
    return qkv;
  }
  // [sequences, heads, tokens, head_dim] of the channels from `first` on.
  const auto heads_from = [&](int64_t first, int64_t heads, int64_t head_dim) {
    return projected.narrow(2, first, heads * head_dim).unflatten(2, {heads, head_dim}).transpose(1, 2);
  };
  // Queries and keys turn by the same angles: one call for both.
  const at::Tensor rotated = Rotate(heads_from(0, config_.query_heads + shape.kv_heads, shape.key_head_dim), angles);
  return {rotated.narrow(1, 0, config_.query_heads) * scale,
          rotated.narrow(1, config_.query_heads, shape.kv_heads).contiguous(),
          heads_from(first_value, shape.kv_heads, shape.value_head_dim).contiguous()};
}

at::Tensor Decoder::GatedSilu(const at::Tensor& gate_up) const {
  const int64_t width = config_.intermediate_size;
  if (UsesCpuKernels(gate_up)) {
    at::Tensor out = at::empty({gate_up.size(0), width}, gate_up.options());
    GatedSiluRows(gate_up.const_data_ptr<float>(), out.mutable_data_ptr<float>(), gate_up.size(0), width);
    return out;
  }
  return at::silu(gate_up.narrow(1, 0, width)).mul_(gate_up.narrow(1, width, width));
}

void Decoder::AddAttentionAndMlp(size_t layer, at::Tensor& hidden, const at::Tensor& attention) const {
  const LayerWeights& weights = weights_.layers[layer];
  for (int64_t start = 0; start < hidden.size(0); start += row_chunk_) {
    const int64_t rows = std::min(row_chunk_, hidden.size(0) - start);
    at::Tensor chunk = hidden.narrow(0, start, rows);
    chunk.add_(at::linear(attention.narrow(0, start, rows), weights.output, weights.output_bias));
    const at::Tensor gate_up =
        at::linear(RmsNorm(chunk, weights.mlp_norm), weights.gate_up, weights.gate_up_bias);
    chunk.add_(at::linear(GatedSilu(gate_up), weights.down, weights.down_bias));
  }
}

at::Tensor Decoder::FinalNorm(const at::Tensor& hidden) const { return RmsNorm(hidden, weights_.final_norm); }

at::Tensor Decoder::Logits(const at::Tensor& normed) const { return at::linear(normed, weights_.head); }

}  // namespace kvtune
