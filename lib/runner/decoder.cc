#include "lib/runner/decoder.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <numeric>
#include <utility>

#include "lib/kernels/row_kernels_cpu.h"
#include "lib/runner/cuda_kernels.h"
#include "lib/runner/experts.h"
#include "lib/runner/row_ops.h"

namespace kvtune {
namespace {

// The most elements that the widest activation of an MLP may have at a time.
constexpr int64_t kCpuChunkElements = 1 << 20;
constexpr int64_t kCudaChunkElements = 1 << 29;

// Returns the layout of `heads` heads that start at `first_channel` of `projected`: [sequences,
// tokens, row_width].
HeadLayout LayoutOf(const at::Tensor& projected, int64_t first_channel, int64_t heads,
                    int64_t head_dim) {
  return {projected.size(0), projected.size(1), projected.size(2), first_channel, heads, head_dim};
}

// Norms the heads of the layout in place. The width of the weight decides whether each head is
// normed by itself or all their channels together.
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

// Gathers heads into a tensor of their own: [sequences, heads, tokens, head_dim]. They are not
// rotated when the angles are undefined. By token, our CUDA kernel puts all heads of a token side
// by side.
at::Tensor Gather(const at::Tensor& projected, const HeadLayout& layout, const RotaryTables& angles,
                  double scale, bool by_token) {
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
  if (UsesCudaKernels(projected))
    return CudaGatherHeads(projected, layout, angles, scale, by_token);
  const at::Tensor heads = projected.narrow(2, layout.first_channel, layout.heads * layout.head_dim)
                               .unflatten(2, {layout.heads, layout.head_dim})
                               .transpose(1, 2);
  const at::Tensor out = angles.cos.defined() ? Rotate(heads, angles) : heads.contiguous();
  return scale == 1 ? out : out * scale;
}

// Reorders the channels of a head. In the input, channel i is the first of a rotary pair and
// channel i + rotary_dim / 2 is the second; in the output, the two channels of a pair are
// neighbours.
// heads: [..., head_dim]
at::Tensor PairsSideBySide(const at::Tensor& heads, int64_t rotary_dim) {
  const int64_t half = rotary_dim / 2;
  const at::Tensor pairs =
      at::stack({heads.narrow(-1, 0, half), heads.narrow(-1, half, half)}, -1).flatten(-2);
  return at::cat({pairs, heads.narrow(-1, rotary_dim, heads.size(-1) - rotary_dim)}, -1);
}

// Multiplies queries in place by a factor that grows with their position; see
// ModelConfig::query_growth.
// queries: [sequences, heads, tokens, head_dim]; positions: those of the tokens
void GrowQueries(at::Tensor& queries, const ModelConfig& config,
                 std::span<const int64_t> positions) {
  // Within the first period every factor is 1.
  if (std::ranges::all_of(positions, [&](int64_t p) { return p < config.query_growth_period; }))
    return;
  std::vector<float> factors;
  for (const int64_t position : positions) {
    const auto periods = static_cast<double>(position / config.query_growth_period);
    factors.push_back(static_cast<float>(1 + config.query_growth * std::log(1 + periods)));
  }
  queries.mul_(
      at::from_blob(factors.data(), {queries.size(2), 1}, at::kFloat).to(queries.options()));
}

}  // namespace

Decoder::Decoder(const Checkpoint& checkpoint, const at::TensorOptions& options, WeightMode mode,
                 const SplitChoice& split)
    : checkpoint_(checkpoint),
      config_(checkpoint.config()),
      options_(options),
      weights_(LoadWeights(checkpoint, options, mode, split)) {
  for (const at::Device& device : stages()) {
    auto& of_stage = rotary_.emplace_back();
    for (const RopeConfig& rope : config_.ropes) {
      of_stage.push_back(std::make_unique<RotaryEmbedding>(rope, config_.max_position_embeddings,
                                                           options.device(device)));
    }
  }
  const auto rows_with = [](int64_t elements, int64_t width) {
    return std::max<int64_t>(64, elements / (2 * width));
  };
  if (options.device().is_cpu()) {
    row_chunk_ = rows_with(kCpuChunkElements, config_.intermediate_size);
  } else {
    // Here a row goes through all of its experts at a time. Matrix products of whole tiles leave no
    // multiprocessor idle.
    const ExpertConfig& experts = config_.experts;
    const int64_t width =
        std::max(config_.intermediate_size, experts.per_token * experts.intermediate_size);
    row_chunk_ = static_cast<int64_t>(
        std::bit_floor(static_cast<uint64_t>(rows_with(kCudaChunkElements, width))));
  }
}

// A copy, also from one part of a CPU to another: layers of different stages share no memory.
at::Tensor Decoder::BroughtTo(size_t layer, at::Tensor hidden) const {
  const size_t stage = StageOf(layer);
  if (stage == (layer == 0 ? 0 : StageOf(layer - 1))) return hidden;
  return hidden.to(stages()[stage], hidden.scalar_type(), /*non_blocking=*/false, /*copy=*/true);
}

at::Tensor Decoder::BroughtHome(at::Tensor hidden) const {
  if (stages().size() == 1) return hidden;
  return hidden.to(stages()[0], hidden.scalar_type(), /*non_blocking=*/false, /*copy=*/true);
}

at::Tensor Decoder::IdsOf(const std::vector<int32_t>& prompt) const {
  // from_blob takes a mutable pointer, but the conversion to int64 only reads.
  const at::Tensor ids = at::from_blob(const_cast<int32_t*>(prompt.data()),
                                       {static_cast<int64_t>(prompt.size())}, at::kInt);
  return ids.to(options_.device(), at::kLong);
}

at::Tensor Decoder::Embed(const at::Tensor& ids) const {
  const at::Tensor embedded = at::embedding(weights_.embedding, ids);
  // The factor is rounded to the type of the weights, as transformers does.
  return config_.embedding_scale == 1 ? embedded
                                      : embedded * at::full({}, config_.embedding_scale, options_);
}

at::Tensor Decoder::Norm(const at::Tensor& x, const NormWeights& weights) const {
  if (!weights.defined()) return x;
  if (config_.norm_kind == NormKind::kRms) return RmsNorm(x, weights.weight, config_.norm_eps);
  return LayerNorm(x, weights.weight, weights.bias, config_.norm_eps);
}

at::Tensor Decoder::RotatedHeads(const at::Tensor& projected, const HeadLayout& layout,
                                 const RotaryTables& angles, const at::Tensor& norm, double scale,
                                 bool by_token) const {
  const bool norm_follows = config_.query_key_norm == QueryKeyNorm::kPerHeadRotated;
  at::Tensor heads = Gather(projected, layout, angles, norm_follows ? 1 : scale, by_token);
  // The cache holds the channels in the order of the checkpoint.
  if (config_.rotary_neighbours && angles.cos.defined()) {
    heads = PairsSideBySide(heads, 2 * angles.cos.size(-1));
  }
  if (!norm_follows) return heads;
  heads = RmsNorm(heads, norm, config_.norm_eps);
  return scale == 1 ? heads : heads * scale;
}

QueryKeyValue Decoder::Project(size_t layer, const at::Tensor& hidden, const RotaryTables& angles,
                               bool queries_by_token) const {
  const LayerConfig& shape = config_.layers[layer];
  const LayerWeights& weights = weights_.layers[layer];
  at::Tensor projected =
      at::linear(Norm(hidden, weights.input_norm), weights.qkv, weights.qkv_bias);
  const int64_t first_key = config_.query_heads * shape.key_head_dim;
  const int64_t first_value = first_key + shape.kv_width(KvSide::kKey);
  const HeadLayout query = LayoutOf(projected, 0, config_.query_heads, shape.key_head_dim);
  const HeadLayout key = LayoutOf(projected, first_key, shape.kv_heads, shape.key_head_dim);
  const HeadLayout value = LayoutOf(projected, first_value, shape.kv_heads, shape.value_head_dim);
  if (weights.query_norm.defined() && config_.query_key_norm != QueryKeyNorm::kPerHeadRotated) {
    NormHeads(projected, query, weights.query_norm, config_.norm_eps);
    NormHeads(projected, key, weights.key_norm, config_.norm_eps);
  }
  const ScoreRule rule{shape.window_tokens, config_.attention_soft_cap, weights.sinks};
  const bool gathers_alone = config_.query_key_norm != QueryKeyNorm::kPerHeadRotated &&
                             !config_.rotary_neighbours && UsesCudaKernels(projected);
  if (gathers_alone && !queries_by_token && hidden.size(0) == 1 &&
      shape.key_head_dim == shape.value_head_dim) {
    CudaQueryKeyValue heads = CudaGatherQueryKeyValue(
        projected, config_.query_heads, shape.kv_heads, angles, config_.attention_scale);
    return {std::move(heads.query), std::move(heads.key), std::move(heads.value), rule};
  }
  return {RotatedHeads(projected, query, angles, weights.query_norm, config_.attention_scale,
                       queries_by_token),
          RotatedHeads(projected, key, angles, weights.key_norm, 1, /*by_token=*/false),
          Gather(projected, value, {}, 1, /*by_token=*/false), rule};
}

QueryKeyValue Decoder::ProjectQueryKeyValue(size_t layer, const at::Tensor& hidden,
                                            const Positions& positions) const {
  const LayerConfig& shape = config_.layers[layer];
  QueryKeyValue projected =
      Project(layer, hidden,
              shape.rope ? rotary_[StageOf(layer)][*shape.rope]->Of(positions, hidden.size(1))
                         : RotaryTables{},
              /*queries_by_token=*/true);
  if (config_.query_growth != 0) {
    std::vector<int64_t> neighbours(static_cast<size_t>(hidden.size(1)));
    std::iota(neighbours.begin(), neighbours.end(), positions.first);
    GrowQueries(projected.query, config_, neighbours);
  }
  return projected;
}

NewestTokens Decoder::NewestAt(std::vector<int64_t> positions, const at::Tensor& index) const {
  NewestTokens tokens{.positions = std::move(positions), .angles = {}};
  for (size_t stage = 0; stage < rotary_.size(); ++stage) {
    const at::Tensor here = index.to(stages()[stage]);
    auto& of_stage = tokens.angles.emplace_back();
    for (const auto& rotary : rotary_[stage])
      of_stage.push_back(rotary->OfNewest(tokens.positions, here));
  }
  return tokens;
}

QueryKeyValue Decoder::ProjectNewest(size_t layer, const at::Tensor& hidden,
                                     const NewestTokens& tokens) const {
  const LayerConfig& shape = config_.layers[layer];
  QueryKeyValue projected =
      Project(layer, hidden.unsqueeze(0),
              shape.rope ? tokens.angles[StageOf(layer)][*shape.rope] : RotaryTables{},
              /*queries_by_token=*/false);
  if (config_.query_growth != 0) GrowQueries(projected.query, config_, tokens.positions);
  return projected;
}

at::Tensor Decoder::Activations(size_t layer, const at::Tensor& rows) const {
  const LayerWeights& weights = weights_.layers[layer];
  if (config_.has_gate())
    return GatedLinear(rows, weights.gate_up, weights.gate_up_bias, config_.activation);
  return Activated(at::linear(rows, weights.gate_up, weights.gate_up_bias),
                   config_.plain_activation);
}

void Decoder::AddMlp(size_t layer, const at::Tensor& normed, at::Tensor& hidden) const {
  const LayerWeights& weights = weights_.layers[layer];
  if (config_.layers[layer].has_experts) {
    hidden.add_(Norm(RunExperts(normed, weights, config_), weights.mlp_output_norm),
                config_.residual_scale);
    return;
  }
  const at::Tensor activated = Activations(layer, normed);
  const bool adds_product = !weights.down_bias.defined() && !weights.mlp_output_norm.defined();
  if (UsesCudaKernels(hidden) && adds_product) {
    // The matrix product adds to what it finds, so that its result is not written apart and read
    // again.
    hidden.addmm_(activated, weights.down.t(), /*beta=*/1, config_.residual_scale);
    return;
  }
  hidden.add_(Norm(at::linear(activated, weights.down, weights.down_bias), weights.mlp_output_norm),
              config_.residual_scale);
}

void Decoder::AddAttentionAndMlp(size_t layer, at::Tensor& hidden, const at::Tensor& attention,
                                 const at::Tensor& before) const {
  const LayerWeights& weights = weights_.layers[layer];
  for (int64_t start = 0; start < hidden.size(0); start += row_chunk_) {
    const int64_t rows = std::min(row_chunk_, hidden.size(0) - start);
    at::Tensor chunk = hidden.narrow(0, start, rows);
    const at::Tensor source = before.defined() ? before.narrow(0, start, rows) : chunk;
    const bool parallel = config_.norm_placement == NormPlacement::kParallel;
    at::Tensor mlp_input = parallel ? Norm(source, weights.input_norm) : at::Tensor();
    const at::Tensor attended =
        at::linear(attention.narrow(0, start, rows), weights.output, weights.output_bias);
    const at::Tensor normed = Norm(attended, weights.attention_output_norm);
    if (!parallel && weights.mlp_norm.defined() && config_.norm_kind == NormKind::kRms) {
      mlp_input = AddAndRmsNorm(source, normed, config_.residual_scale, weights.mlp_norm.weight,
                                config_.norm_eps, chunk);
    } else {
      AddScaled(source, normed, config_.residual_scale, chunk);
      if (!parallel) mlp_input = Norm(chunk, weights.mlp_norm);
    }
    AddMlp(layer, mlp_input, chunk);
  }
}

at::Tensor Decoder::FinalNorm(const at::Tensor& hidden) const {
  return Norm(hidden, weights_.final_norm);
}

at::Tensor Decoder::Logits(const at::Tensor& normed) const {
  at::Tensor logits = at::linear(normed, weights_.head);
  if (config_.logit_scale != 1) logits.mul_(config_.logit_scale);
  if (config_.logit_soft_cap > 0) SoftCap(logits, config_.logit_soft_cap);
  return logits;
}

}  // namespace kvtune
