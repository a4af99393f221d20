// What a decoder is, read from its config.json: everything that the runner and the costs need, as
// data. There is one decoder (lib/runner/decoder.h), whatever the family; what differs from layer
// to layer is in LayerConfig, and lib/core/model_families.cc says what each family has.
#pragma once

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "lib/base/json_fields.h"
#include "lib/core/kv_format.h"
#include "lib/core/rope_config.h"

namespace kvtune {

// Where a layer's norms are, with the names of their weights in a checkpoint.
enum class NormPlacement {
  kBefore,     // of attention and MLP: input_layernorm, post_attention_layernorm (Llama)
  kAfter,      // post_attention_layernorm, post_feedforward_layernorm (OLMo 2)
  kAround,     // input_, post_attention_, pre_feedforward_, post_feedforward_layernorm (Gemma 2)
  kAroundGlm,  // input_, post_self_attn_, post_attention_, post_mlp_layernorm (GLM-4)
  kParallel,   // input_layernorm alone, before attention and MLP, which stand side by side (Cohere)
};

enum class NormKind {
  kRms,
  kLayer,        // the mean is subtracted
  kLayerBiased,  // and a bias is added
};

// RMS norms of queries and keys.
enum class QueryKeyNorm {
  kNone,
  kPerHead,
  kWholeWidth,
  kPerHeadRotated,  // after their rotation, where the others come before it
};

// The MLP's projections and their names in a checkpoint.
enum class MlpLayout {
  kGated,           // gate_proj, up_proj, down_proj
  kFusedGated,      // gate_up_proj, down_proj
  kPlain,           // up_proj, down_proj: no gate
  kPlainStarcoder,  // c_fc, c_proj: no gate
};

// What the MLP makes of its gate and up projections.
enum class Activation {
  kSilu,           // silu(gate) up
  kGeluTanh,       // gelu(gate) up, in the tanh approximation
  kClampedSwiglu,  // gpt-oss: g sigmoid(slope g) (u + 1), g = min(gate, limit), u = up within
                   // +-limit
};

// What an MLP without a gate makes of its up projection.
enum class PlainActivation {
  kRelu2,     // the square of what is positive
  kGeluTanh,  // gelu in the tanh approximation
};

inline constexpr float kSwigluLimit = 7.0f;
inline constexpr float kSwigluSlope = 1.702f;

// How experts and their router are named and laid out in a checkpoint.
enum class ExpertLayout {
  kMixtral,  // block_sparse_moe.gate, block_sparse_moe.experts.N.{w1,w3,w2}
  kQwen,     // mlp.gate, mlp.experts.N.{gate,up,down}_proj
  kGptOss,   // mlp.router, mlp.experts.{gate_up,down}_proj: stacked, transposed, gate and up taking
             // turns
};

// Each token goes through the `per_token` experts whose router logits are largest, weighted by
// their softmax.
struct ExpertConfig {
  int64_t count = 0;
  int64_t per_token = 0;
  int64_t intermediate_size = 0;
  // Of an MLP that every token goes through beside its experts, weighted by the sigmoid of a logit
  // of its own. 0: there is none.
  int64_t shared_intermediate_size = 0;
  bool renormalized = true;  // the chosen experts' weights add up to 1
  ExpertLayout layout = ExpertLayout::kMixtral;
};

// One layer, as its cache and its mask see it.
struct LayerConfig {
  int64_t kv_heads = 0;
  int64_t key_head_dim = 0;
  int64_t value_head_dim = 0;
  // A query sees this many of the newest tokens, its own included, and the cache keeps no others.
  // 0: it sees all of them (full attention).
  int64_t window_tokens = 0;
  std::optional<size_t> rope = 0;  // index into ModelConfig::ropes; nullopt: no rotation (NoPE)
  bool has_experts = false;        // a mixture of experts in place of the MLP

  int64_t head_dim(KvSide side) const {
    return side == KvSide::kKey ? key_head_dim : value_head_dim;
  }
  // Elements that one token adds to one side of this layer's cache.
  int64_t kv_width(KvSide side) const { return kv_heads * head_dim(side); }
  // Tokens that the cache holds after `context` tokens.
  int64_t cached_tokens(int64_t context) const {
    return window_tokens == 0 ? context : std::min(context, window_tokens);
  }
};

struct ModelConfig {
  std::string architecture;   // "LlamaForCausalLM", ...
  bool reads_images = false;  // a text model within one that also reads images
  std::vector<LayerConfig> layers;
  int64_t hidden_size = 0;
  int64_t intermediate_size = 0;  // of layers without experts
  int64_t query_heads = 0;
  int64_t vocab_size = 0;
  int64_t max_position_embeddings = 0;
  std::vector<RopeConfig> ropes;  // the distinct ones

  NormPlacement norm_placement = NormPlacement::kBefore;
  NormKind norm_kind = NormKind::kRms;
  double norm_eps = 1e-6;
  bool norms_add_one = false;  // norms multiply by 1 + weight
  QueryKeyNorm query_key_norm = QueryKeyNorm::kNone;

  double attention_scale = 1;     // of query times key
  double attention_soft_cap = 0;  // scores become cap tanh(score / cap); 0: they stay
  bool attention_sinks = false;   // a learned logit per query head takes weight without a value
  // Queries grow with their position: by 1 + growth log(1 + position / period), the quotient
  // rounded down. 0: they do not.
  double query_growth = 0;
  int64_t query_growth_period = 0;
  double logit_soft_cap = 0;  // as attention_soft_cap
  double logit_scale = 1;
  double embedding_scale = 1;
  double residual_scale = 1;  // of what attention and MLP add

  MlpLayout mlp = MlpLayout::kGated;
  Activation activation = Activation::kSilu;
  PlainActivation plain_activation = PlainActivation::kRelu2;  // of an MLP without a gate
  ExpertConfig experts;

  bool query_key_value_bias = false;
  bool output_bias = false;  // of the attention's output projection
  bool mlp_bias = false;
  bool fused_query_key_value = false;   // in the checkpoint: qkv_proj
  bool gguf_rotary_neighbours = false;  // as in Family
  bool rotary_neighbours = false;       // as in Family
  bool tied_embeddings = false;         // the head is the embedding matrix, unless one is stored

  bool has_gate() const { return mlp == MlpLayout::kGated || mlp == MlpLayout::kFusedGated; }
  int64_t layer_count() const { return static_cast<int64_t>(layers.size()); }
};

// Reads the spellings of old and new config files. A field that the file leaves out has the default
// of the model's configuration class in transformers; of a model that also reads images, the text
// model is read. Throws Error for an architecture, activation, layer or rotary type that is not
// supported, with the reason, and for sizes that contradict each other or that no model has.
// `source` names the file in messages.
ModelConfig ParseModelConfig(const Json& config, const std::string& source);
ModelConfig ReadModelConfig(const std::filesystem::path& config_json);

}  // namespace kvtune
