#include "lib/runner/decoder.h"

#include <algorithm>

#include "lib/kernels/row_kernels_cpu.h"
#include "lib/runner/experts.h"
#include "lib/runner/row_ops.h"

namespace kvtune {
namespace {

// Elements of an MLP's widest activation that are alive at a time.
constexpr int64_t kCpuChunkElements = 1 << 20;
constexpr int64_t kCudaChunkElements = 1 << 29;

// Of the heads that start at a channel of `projected`: [sequences, tokens, row_width].
HeadLayout LayoutOf(const at::Tensor& projected, int64_t first_channel, int64_t heads,
                    int64_t head_dim) {
  return {projected.size(0), projected.size(1), projected.size(2), first_channel, heads, head_dim};
}

// In place, on the heads of the layout or on all their channels together.
void NormHeads(at::Tensor& projected, HeadLayout layout, const at::Tensor& weight, double eps) {
  layout.heads = layout.heads * layout.head_dim / weight.size(0);
  layout.head_dim = weight.size(0);
  if (UsesCpuKernels(projected)) {
    RmsNormHeads(projected.mutable_data_ptr<float>(), layout, weight.const_data_ptr<float>(),
                 static_cast<float>(eps));
    return;
  }
  at::Tensor heads = projected.narrow(2, layout.first_channel, layout.heads * layout.head_dim)
                         .unflatten(2, {layout.heads, layout.head_dim});
  heads.copy_(RmsNorm(heads, weight, eps));
}

// -> [sequences, heads, tokens, head_dim], contiguous; not rotated where the angles are undefined.
at::Tensor Gather(const at::Tensor& projected, const HeadLayout& layout, const RotaryTables& angles,
                  double scale) {
  if (UsesCpuKernels(projected)) {
    at::Tensor out = at::empty({layout.sequences, layout.heads, layout.tokens, layout.head_dim},
                               projected.options());
    const float* source = projected.const_data_ptr<float>();
    if (angles.cos.defined()) {
      GatherRotatedHeads(source, layout, 2 * angles.cos.size(-1),
                         angles.cos.const_data_ptr<float>(), angles.sin.const_data_ptr<float>(),
                         static_cast<float>(scale), out.mutable_data_ptr<float>());
    } else {
      GatherHeads(source, layout, static_cast<float>(scale), out.mutable_data_ptr<float>());
    }
    return out;
  }
  const at::Tensor heads = projected.narrow(2, layout.first_channel, layout.heads * layout.head_dim)
                               .unflatten(2, {layout.heads, layout.head_dim})
                               .transpose(1, 2);
  const at::Tensor out = angles.cos.defined() ? Rotate(heads, angles) : heads.contiguous();
  return scale == 1 ? out : out * scale;
}

}  // namespace

Decoder::Decoder(const Checkpoint& checkpoint, const at::TensorOptions& options, WeightMode mode)
    : checkpoint_(checkpoint),
      config_(checkpoint.config()),
      options_(options),
      weights_(LoadWeights(checkpoint, options, mode)) {
  for (const RopeConfig& rope : config_.ropes) {
    rotary_.emplace_back(rope, config_.max_position_embeddings, options);
  }
  const int64_t elements = options.device().is_cpu() ? kCpuChunkElements : kCudaChunkElements;
  row_chunk_ = std::max<int64_t>(64, elements / (2 * config_.intermediate_size));
}

at::Tensor Decoder::IdsOf(const std::vector<int32_t>& prompt) const {
  // from_blob takes a mutable pointer, but the conversion to int64 only reads.
  const at::Tensor ids = at::from_blob(const_cast<int32_t*>(prompt.data()),
                                       {static_cast<int64_t>(prompt.size())}, at::kInt);
  return ids.to(options_.device(), at::kLong);
}

at::Tensor Decoder::Embed(const at::Tensor& ids) const {
  const at::Tensor embedded = at::embedding(weights_.embedding, ids);
  // The factor in the weights' type, as transformers rounds it.
  return config_.embedding_scale == 1 ? embedded
                                      : embedded * at::full({}, config_.embedding_scale, options_);
}

at::Tensor Decoder::Norm(const at::Tensor& x, const at::Tensor& weight) const {
  return weight.defined() ? RmsNorm(x, weight, config_.rms_norm_eps) : x;
}

QueryKeyValue Decoder::ProjectQueryKeyValue(size_t layer, const at::Tensor& hidden,
                                            const Positions& positions) const {
  const LayerConfig& shape = config_.layers[layer];
  const LayerWeights& weights = weights_.layers[layer];
  at::Tensor projected =
      at::linear(Norm(hidden, weights.input_norm), weights.qkv, weights.qkv_bias);
  const int64_t first_key = config_.query_heads * shape.key_head_dim;
  const int64_t first_value = first_key + shape.kv_width(KvSide::kKey);
  const HeadLayout query = LayoutOf(projected, 0, config_.query_heads, shape.key_head_dim);
  const HeadLayout key = LayoutOf(projected, first_key, shape.kv_heads, shape.key_head_dim);
  const HeadLayout value = LayoutOf(projected, first_value, shape.kv_heads, shape.value_head_dim);
  if (weights.query_norm.defined()) {
    NormHeads(projected, query, weights.query_norm, config_.rms_norm_eps);
    NormHeads(projected, key, weights.key_norm, config_.rms_norm_eps);
  }
  const RotaryTables angles =
      shape.rope ? rotary_[*shape.rope].Of(positions, hidden.size(1)) : RotaryTables{};
  return {Gather(projected, query, angles, config_.attention_scale),
          Gather(projected, key, angles, 1),
          Gather(projected, value, {}, 1),
          {shape.window_tokens, config_.attention_soft_cap, weights.sinks}};
}

at::Tensor Decoder::Mlp(size_t layer, const at::Tensor& rows) const {
  const LayerWeights& weights = weights_.layers[layer];
  if (config_.layers[layer].has_experts) return RunExperts(rows, weights, config_);
  const at::Tensor gate_up = at::linear(rows, weights.gate_up, weights.gate_up_bias);
  return at::linear(Gated(gate_up, config_.activation), weights.down, weights.down_bias);
}

void Decoder::AddAttentionAndMlp(size_t layer, at::Tensor& hidden,
                                 const at::Tensor& attention) const {
  const LayerWeights& weights = weights_.layers[layer];
  for (int64_t start = 0; start < hidden.size(0); start += row_chunk_) {
    const int64_t rows = std::min(row_chunk_, hidden.size(0) - start);
    at::Tensor chunk = hidden.narrow(0, start, rows);
    const at::Tensor attended =
        at::linear(attention.narrow(0, start, rows), weights.output, weights.output_bias);
    chunk.add_(Norm(attended, weights.attention_output_norm));
    chunk.add_(Norm(Mlp(layer, Norm(chunk, weights.mlp_norm)), weights.mlp_output_norm));
  }
}

at::Tensor Decoder::FinalNorm(const at::Tensor& hidden) const {
  return Norm(hidden, weights_.final_norm);
}

at::Tensor Decoder::Logits(const at::Tensor& normed) const {
  at::Tensor logits = at::linear(normed, weights_.head);
  if (config_.logit_soft_cap > 0) SoftCap(logits, config_.logit_soft_cap);
  return logits;
}

}  // namespace kvtune
