// The model families that the decoder runs: what each one has that its config.json does not say.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
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
  kAllButEveryNth,     // every Nth layer is full, N = window_period
  kEvenIfAsked,        // by use_sliding_window, every other layer, up to max_window_layers
};

// Which projections of attention have a bias. A field that says so is attention_bias, or use_bias,
// qkv_bias or use_qkv_bias where the family's class has that one.
enum class BiasRule {
  kNever,
  kQueryKeyValue,          // always, the output projection never
  kQueryKeyValueOfConfig,  // where the field says so, the output projection never
  kOfConfig,               // all four, where the field says so; attention_out_bias of the output
                           // projection, where the class has it
};

// Layers whose queries and keys do not turn (NoPE).
enum class UnrotatedLayers {
  kNone,
  kListed,             // no_rope_layers, no_rope_layer_interval
  kFull,               // those without a window
  kFullBesideSliding,  // those without a window, where others have one
};

// How layers with a window turn, where not as the others.
enum class LocalRope {
  kNone,
  kOwnBase,   // by a base of their own, rope_local_base_freq
  kUnscaled,  // by the same base, without its scaling
};

// A family is one row of the table: a plain Llama-like one has nothing but its names. What a
// config.json leaves out is not here but in lib/core/class_defaults.h.
struct Family {
  std::string_view architecture;
  std::string_view config_class;  // of transformers, for ClassDefaults
  BiasRule bias = BiasRule::kOfConfig;
  WindowRule windows = WindowRule::kNever;
  int64_t window_period = 0;      // of kAllButEveryNth
  bool period_in_config = false;  // as sliding_window_pattern, which then comes first
  // layer_types says which layers have the window, where it is given. Without it the model's code
  // does not look at that field.
  bool has_layer_types = false;
  NormPlacement norms = NormPlacement::kBefore;
  NormKind norm_kind = NormKind::kRms;
  QueryKeyNorm query_key_norm = QueryKeyNorm::kNone;
  bool norms_add_one = false;
  bool scales_embedding = false;  // by sqrt(hidden_size)
  bool has_sinks = false;
  std::optional<Activation> activation = std::nullopt;  // nullopt: config.json says it
  std::optional<ExpertLayout> experts = std::nullopt;
  MlpLayout mlp = MlpLayout::kGated;
  bool fused_query_key_value = false;
  // A GGUF file has the two channels of a rotary pair beside each other, where a checkpoint has all
  // first ones and then all second ones: llama.cpp's convert_hf_to_gguf.py, LlamaModel.permute.
  bool gguf_rotary_neighbours = false;
  bool rotary_neighbours = false;  // the checkpoint has them beside each other itself
  UnrotatedLayers unrotated = UnrotatedLayers::kNone;
  bool rotates_partially = false;  // partial_rotary_factor
  LocalRope local_rope = LocalRope::kNone;
  bool has_rope_sections = false;  // positions in images; those of text turn as usual
  bool has_rope_alpha = false;     // the rotary type "dynamic" with "alpha"
};

// nullptr for one that is not supported.
const Family* FindFamily(std::string_view architecture);
// The family of a text model by its model_type ("gemma3_text"), as a wrapper's text_config names
// it.
const Family* FindFamilyByModelType(std::string_view model_type);

// A model that also reads images around a text model of one of the families.
struct Wrapper {
  std::string_view architecture;
  std::string_view config_class;     // of transformers, for its tie_word_embeddings
  std::string_view text_model_type;  // where text_config does not name one
};

// nullptr for one that is not supported.
const Wrapper* FindWrapper(std::string_view architecture);

// "LlamaForCausalLM, MistralForCausalLM, ..." for messages.
std::string FamilyNames();

// Why a known architecture is not supported; empty for one that is not known.
std::string_view ReasonOfRefusal(std::string_view architecture);

// The table of docs/models.md: every architecture name with "read" or the reason of its refusal.
std::string ArchitectureTable();

}  // namespace kvtune
