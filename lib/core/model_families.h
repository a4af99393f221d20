// The model families that the decoder runs: what each one has that its config.json does not say.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

#include "lib/core/model_config.h"

namespace kvtune {

// Which layers see a sliding window of config.json's sliding_window.
enum class WindowRule {
  kNever,
  kEveryLayer,         // where sliding_window is given
  kEveryLayerIfAsked,  // by use_sliding_window
  kFromLayerIfAsked,   // by use_sliding_window, from max_window_layers on
  kUnrotatedIfAsked,   // by use_sliding_window, the layers without rotation
  kAllButEveryNth,     // layer_types, else every Nth layer is full, N = window_period
};

enum class BiasRule {
  kNever,
  kQueryKeyValue,  // always, the output projection never
  kOfConfig,       // attention_bias, for all four projections
};

// A family is one row of the table: a plain Llama-like one has nothing but its name.
struct Family {
  std::string_view architecture;
  BiasRule bias = BiasRule::kOfConfig;
  bool biased_by_default = false;  // of kOfConfig, where config.json does not say it
  WindowRule windows = WindowRule::kNever;
  // What an older config.json without the field means. nullopt: no window.
  std::optional<int64_t> default_window = std::nullopt;
  int64_t window_period = 0;
  NormPlacement norms = NormPlacement::kBefore;
  QueryKeyNorm query_key_norm = QueryKeyNorm::kNone;
  bool norms_add_one = false;
  bool scales_embedding = false;  // by sqrt(hidden_size)
  bool has_query_scalar = false;  // query_pre_attn_scalar takes head_dim's place in the scale
  bool has_soft_caps = false;     // attn_logit_softcapping, final_logit_softcapping
  double default_attention_soft_cap = 0;
  double default_logit_soft_cap = 0;
  bool has_sinks = false;
  std::optional<Activation> activation = std::nullopt;  // nullopt: config.json says it
  std::optional<ExpertLayout> experts = std::nullopt;
  bool fused_projections = false;
  // A GGUF file has the two channels of a rotary pair beside each other, where a checkpoint has all
  // first ones and then all second ones: llama.cpp's convert_hf_to_gguf.py, LlamaModel.permute.
  bool gguf_rotary_neighbours = false;
  bool has_unrotated_layers = false;  // no_rope_layers, no_rope_layer_interval
  bool rotates_partially = false;     // partial_rotary_factor
  bool has_local_rope = false;        // sliding layers turn by a base of their own
  double default_rope_theta = 10000;
  double default_local_rope_theta = 10000;
  bool tied_by_default = false;
};

// nullptr for one that is not supported.
const Family* FindFamily(std::string_view architecture);

// "LlamaForCausalLM, MistralForCausalLM, ..." for messages.
std::string FamilyNames();

// Why a known architecture is not supported; empty for one that is not known.
std::string_view ReasonOfRefusal(std::string_view architecture);

}  // namespace kvtune
