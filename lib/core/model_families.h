// The model families that the decoder runs, and for each one the properties that its config.json
// does not state.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "lib/core/model_config.h"

namespace kvtune {

// Says which layers see a sliding window, whose size is sliding_window of config.json. A rule that
// is "by use_sliding_window" applies only when config.json sets that field to true.
enum class WindowRule {
  kNever,
  kEveryLayer,         // every layer, when sliding_window is given
  kEveryLayerIfAsked,  // every layer, by use_sliding_window
  kFromLayerIfAsked,   // the layers from max_window_layers on, by use_sliding_window
  kUnrotatedIfAsked,   // the layers without rotation, by use_sliding_window
  kAllButEveryNth,     // all layers but every Nth one, where N = window_period
  kEvenIfAsked,        // every other layer up to max_window_layers, by use_sliding_window
};

// Says which projections of attention have a bias. "The field" is attention_bias of config.json, or
// use_bias, qkv_bias or use_qkv_bias when the family's class has one of these.
enum class BiasRule {
  kNever,
  kQueryKeyValue,  // queries, keys and values always, the output projection never
  // Queries, keys and values when the field says so; the output projection never.
  kQueryKeyValueOfConfig,
  // All four when the field says so. For the output projection attention_out_bias decides instead
  // when the class has it.
  kOfConfig,
};

// Says which layers leave their queries and keys unrotated (NoPE).
enum class UnrotatedLayers {
  kNone,
  kListed,             // those that no_rope_layers or no_rope_layer_interval name
  kFull,               // the layers without a window
  kFullBesideSliding,  // the layers without a window, in a model where others have one
};

// Says how layers with a window rotate when they differ from the other layers.
enum class LocalRope {
  kNone,
  kOwnBase,   // by a base of their own, rope_local_base_freq
  kUnscaled,  // by the same base, but without its scaling
};

// One model family, which is one row of the table. A family that is just like Llama states nothing
// but its names. The values that apply when a config.json omits a field are in
// lib/core/class_defaults.h.
struct Family {
  std::string_view architecture;
  std::string_view config_class;  // the class in transformers, for ClassDefaults
  BiasRule bias = BiasRule::kOfConfig;
  WindowRule windows = WindowRule::kNever;
  int64_t window_period = 0;  // the N of kAllButEveryNth
  // Whether config.json may give the period as sliding_window_pattern, which then takes precedence.
  bool period_in_config = false;
  // Whether layer_types of config.json, when it is given, says which layers have the window. Where
  // this is false, the model's code in transformers does not look at that field.
  bool has_layer_types = false;
  NormPlacement norms = NormPlacement::kBefore;
  NormKind norm_kind = NormKind::kRms;
  QueryKeyNorm query_key_norm = QueryKeyNorm::kNone;
  bool norms_add_one = false;
  bool scales_embedding = false;  // the factor is sqrt(hidden_size)
  bool has_sinks = false;
  std::optional<Activation> activation = std::nullopt;  // nullopt: config.json states it
  std::optional<ExpertLayout> experts = std::nullopt;
  MlpLayout mlp = MlpLayout::kGated;
  bool fused_query_key_value = false;
  // A GGUF file stores the two channels of a rotary pair next to each other, while a checkpoint
  // stores the first channels of all pairs and then the second channels of all pairs
  // (LlamaModel.permute in llama.cpp's convert_hf_to_gguf.py). True when this holds for the family.
  bool gguf_rotary_neighbours = false;
  // Whether the checkpoint itself stores the two channels of a pair next to each other.
  bool rotary_neighbours = false;
  UnrotatedLayers unrotated = UnrotatedLayers::kNone;
  bool rotates_partially = false;  // by partial_rotary_factor
  LocalRope local_rope = LocalRope::kNone;
  // Whether the rotation has sections for positions in images. Positions of text rotate as usual.
  bool has_rope_sections = false;
  bool has_rope_alpha = false;  // whether the rotary type "dynamic" may come with "alpha"
};

// Returns nullptr for an architecture that is not supported.
const Family* FindFamily(std::string_view architecture);
// Finds the family of a text model by its model_type ("gemma3_text"), which is how a wrapper's
// text_config names it. Returns nullptr when no family has it.
const Family* FindFamilyByModelType(std::string_view model_type);

// A model that also reads images and that wraps a text model of one of the families.
struct Wrapper {
  std::string_view architecture;
  std::string_view config_class;     // the class in transformers, for its tie_word_embeddings
  std::string_view text_model_type;  // applies when text_config names none
};

// Returns nullptr for an architecture that is not supported.
const Wrapper* FindWrapper(std::string_view architecture);

// Returns "LlamaForCausalLM, MistralForCausalLM, ..." for messages.
std::string FamilyNames();

// Returns why a known architecture is not supported, or an empty string when it is unknown.
std::string_view ReasonOfRefusal(std::string_view architecture);

// Returns the table of docs/models.md: every architecture name with "read" or with the reason why
// it is refused.
std::string ArchitectureTable();

}  // namespace kvtune
