#include "lib/runner/decoder.h"

#include <algorithm>
#include <cmath>

namespace kvtune {
namespace {

// Elements of an MLP's widest activation that are alive at a time.
constexpr int64_t kCpuChunkElements = 1 << 20;
constexpr int64_t kCudaChunkElements = 1 << 29;

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
  const at::Tensor wide = hidden.to(at::promote_types(hidden.scalar_type(), at::kFloat));
  const at::Tensor variance = (wide * wide).mean(-1, /*keepdim=*/true);
  const at::Tensor normed = wide * at::rsqrt(variance.add_(config_.rms_norm_eps));
  return normed.to(hidden.scalar_type()) * weight;
}

at::Tensor Decoder::Embed(const at::Tensor& ids) const { return at::embedding(weights_.embedding, ids); }

QueryKeyValue Decoder::ProjectQueryKeyValue(size_t layer, const at::Tensor& hidden,
                                            const at::Tensor& positions) const {
  const LayerWeights& weights = weights_.layers[layer];
  const int64_t rows = hidden.size(0);
  const int64_t heads = config_.query_heads + 2 * config_.kv_heads;
  const at::Tensor normed = RmsNorm(hidden, weights.input_norm);
  const at::Tensor projected =
      at::linear(normed, weights.qkv, weights.qkv_bias).view({rows, heads, config_.head_dim});
  // Queries and keys turn by the same angles: one call for both.
  const at::Tensor rotated =
      Rotate(projected.narrow(1, 0, config_.query_heads + config_.kv_heads), rotary_, positions);
  const double scale = 1.0 / std::sqrt(static_cast<double>(config_.head_dim));
  return {rotated.narrow(1, 0, config_.query_heads) * scale,
          rotated.narrow(1, config_.query_heads, config_.kv_heads),
          projected.narrow(1, config_.query_heads + config_.kv_heads, config_.kv_heads)};
}

void Decoder::AddAttentionAndMlp(size_t layer, at::Tensor& hidden, const at::Tensor& attention) const {
  const LayerWeights& weights = weights_.layers[layer];
  for (int64_t start = 0; start < hidden.size(0); start += row_chunk_) {
    const int64_t rows = std::min(row_chunk_, hidden.size(0) - start);
    at::Tensor chunk = hidden.narrow(0, start, rows);
    chunk.add_(at::linear(attention.narrow(0, start, rows), weights.output, weights.output_bias));
    const at::Tensor gate_up =
        at::linear(RmsNorm(chunk, weights.mlp_norm), weights.gate_up, weights.gate_up_bias);
    at::Tensor gate = gate_up.narrow(1, 0, config_.intermediate_size);
    const at::Tensor up = gate_up.narrow(1, config_.intermediate_size, config_.intermediate_size);
    chunk.add_(at::linear(at::silu(gate).mul_(up), weights.down, weights.down_bias));
  }
}

at::Tensor Decoder::FinalNorm(const at::Tensor& hidden) const { return RmsNorm(hidden, weights_.final_norm); }

at::Tensor Decoder::Logits(const at::Tensor& normed) const { return at::linear(normed, weights_.head); }

}  // namespace kvtune
