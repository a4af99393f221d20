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

Decoder::Decoder(const Checkpoint& checkpoint, const at::TensorOptions& options)
    : config_(checkpoint.config()),
      options_(options),
      weights_(LoadWeights(checkpoint, options)),
      rotary_(MakeRotaryTables(config_.rope, config_.head_dim, config_.max_position_embeddings, options)) {
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
  const LayerWeights& weights = weights_.layers[layer];
  const int64_t sequences = hidden.size(0), tokens = hidden.size(1);
  const int64_t heads = config_.query_heads + 2 * config_.kv_heads;
  const at::Tensor projected =
      at::linear(RmsNorm(hidden, weights.input_norm), weights.qkv, weights.qkv_bias)
          .view({sequences, tokens, heads, config_.head_dim});
  const RotaryTables angles{rotary_.cos.narrow(0, first_position, tokens),
                            rotary_.sin.narrow(0, first_position, tokens)};
  const double scale = 1.0 / std::sqrt(static_cast<double>(config_.head_dim));
  const int64_t first_key = config_.query_heads, first_value = config_.query_heads + config_.kv_heads;
  if (UsesCpuKernels(projected)) {
    const HeadLayout layout{sequences, tokens, heads, config_.head_dim};
    const auto gathered = [&](int64_t count) {
      return at::empty({sequences, count, tokens, config_.head_dim}, projected.options());
    };
    QueryKeyValue qkv{gathered(config_.query_heads), gathered(config_.kv_heads), gathered(config_.kv_heads)};
    const float* source = projected.const_data_ptr<float>();
    const float* cos = angles.cos.const_data_ptr<float>();
    const float* sin = angles.sin.const_data_ptr<float>();
    GatherRotatedHeads(source, layout, 0, config_.query_heads, cos, sin, static_cast<float>(scale),
                       qkv.query.mutable_data_ptr<float>());
    GatherRotatedHeads(source, layout, first_key, config_.kv_heads, cos, sin, 1.0f, qkv.key.mutable_data_ptr<float>());
    GatherHeads(source, layout, first_value, config_.kv_heads, 1.0f, qkv.value.mutable_data_ptr<float>());
    return qkv;
  }
  // Queries and keys turn by the same angles: one call for both.
  const at::Tensor rotated = Rotate(projected.narrow(2, 0, first_value).transpose(1, 2), angles);
  return {rotated.narrow(1, 0, config_.query_heads) * scale,
          rotated.narrow(1, first_key, config_.kv_heads).contiguous(),
          projected.narrow(2, first_value, config_.kv_heads).transpose(1, 2).contiguous()};
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
