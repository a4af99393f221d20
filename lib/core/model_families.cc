#include "lib/core/model_families.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <string>

#include "lib/core/class_defaults.h"
#include "lib/core/model_refusals.h"

namespace kvtune {
namespace {

constexpr std::array kFamilies = {
    Family{.architecture = "LlamaForCausalLM",
           .config_class = "LlamaConfig",
           .gguf_rotary_neighbours = true},
    // With layer_types this is a Ministral model, which is how newer versions of transformers read
    // it.
    Family{.architecture = "MistralForCausalLM",
           .config_class = "MistralConfig",
           .bias = BiasRule::kNever,
           .windows = WindowRule::kEveryLayer,
           .has_layer_types = true,
           .gguf_rotary_neighbours = true},
    Family{.architecture = "MinistralForCausalLM",
           .config_class = "MinistralConfig",
           .bias = BiasRule::kNever,
           .windows = WindowRule::kEveryLayer,
           .has_layer_types = true,
           .gguf_rotary_neighbours = true},
    Family{.architecture = "Ministral3ForCausalLM",
           .config_class = "Ministral3Config",
           .bias = BiasRule::kNever,
           .windows = WindowRule::kEveryLayer,
           .gguf_rotary_neighbours = true},
    Family{.architecture = "Qwen2ForCausalLM",
           .config_class = "Qwen2Config",
           .bias = BiasRule::kQueryKeyValue,
           .windows = WindowRule::kFromLayerIfAsked,
           .has_layer_types = true},
    // This is Qwen2 with additional layers for multi-token prediction, which plain decoding does
    // not use.
    Family{.architecture = "MiMoForCausalLM",
           .config_class = "Qwen2Config",
           .bias = BiasRule::kQueryKeyValue,
           .windows = WindowRule::kFromLayerIfAsked,
           .has_layer_types = true},
    Family{.architecture = "Qwen2VLTextModel",
           .config_class = "Qwen2VLTextConfig",
           .bias = BiasRule::kQueryKeyValue,
           .windows = WindowRule::kFromLayerIfAsked,
           .has_layer_types = true,
           .has_rope_sections = true},
    Family{.architecture = "Qwen2_5_VLTextModel",
           .config_class = "Qwen2_5_VLTextConfig",
           .bias = BiasRule::kQueryKeyValue,
           .windows = WindowRule::kFromLayerIfAsked,
           .has_layer_types = true,
           .has_rope_sections = true},
    Family{.architecture = "Qwen2MoeForCausalLM",
           .config_class = "Qwen2MoeConfig",
           .bias = BiasRule::kQueryKeyValueOfConfig,
           .windows = WindowRule::kEvenIfAsked,
           .has_layer_types = true,
           .experts = ExpertLayout::kQwen},
    Family{.architecture = "Qwen3ForCausalLM",
           .config_class = "Qwen3Config",
           .windows = WindowRule::kFromLayerIfAsked,
           .has_layer_types = true,
           .query_key_norm = QueryKeyNorm::kPerHead},
    Family{.architecture = "Qwen3VLTextModel",
           .config_class = "Qwen3VLTextConfig",
           .query_key_norm = QueryKeyNorm::kPerHead,
           .has_rope_sections = true},
    Family{.architecture = "Qwen3MoeForCausalLM",
           .config_class = "Qwen3MoeConfig",
           .windows = WindowRule::kEveryLayerIfAsked,
           .query_key_norm = QueryKeyNorm::kPerHead,
           .experts = ExpertLayout::kQwen},
    Family{.architecture = "MixtralForCausalLM",
           .config_class = "MixtralConfig",
           .bias = BiasRule::kNever,
           .windows = WindowRule::kEveryLayer,
           .experts = ExpertLayout::kMixtral,
           .gguf_rotary_neighbours = true},
    Family{.architecture = "GemmaForCausalLM",
           .config_class = "GemmaConfig",
           .norms_add_one = true,
           .scales_embedding = true},
    Family{.architecture = "Gemma2ForCausalLM",
           .config_class = "Gemma2Config",
           .windows = WindowRule::kAllButEveryNth,
           .window_period = 2,
           .has_layer_types = true,
           .norms = NormPlacement::kAround,
           .norms_add_one = true,
           .scales_embedding = true},
    Family{.architecture = "Gemma3ForCausalLM",
           .config_class = "Gemma3TextConfig",
           .windows = WindowRule::kAllButEveryNth,
           .window_period = 6,
           .period_in_config = true,
           .has_layer_types = true,
           .norms = NormPlacement::kAround,
           .query_key_norm = QueryKeyNorm::kPerHead,
           .norms_add_one = true,
           .scales_embedding = true,
           .local_rope = LocalRope::kOwnBase},
    Family{.architecture = "Phi3ForCausalLM",
           .config_class = "Phi3Config",
           .bias = BiasRule::kNever,
           .windows = WindowRule::kEveryLayer,
           .mlp = MlpLayout::kFusedGated,
           .fused_query_key_value = true,
           .rotates_partially = true},
    Family{.architecture = "Olmo2ForCausalLM",
           .config_class = "Olmo2Config",
           .norms = NormPlacement::kAfter,
           .query_key_norm = QueryKeyNorm::kWholeWidth},
    Family{.architecture = "Olmo3ForCausalLM",
           .config_class = "Olmo3Config",
           .windows = WindowRule::kAllButEveryNth,
           .window_period = 4,
           .has_layer_types = true,
           .norms = NormPlacement::kAfter,
           .query_key_norm = QueryKeyNorm::kWholeWidth,
           .local_rope = LocalRope::kUnscaled},
    Family{.architecture = "OlmoeForCausalLM",
           .config_class = "OlmoeConfig",
           .query_key_norm = QueryKeyNorm::kWholeWidth,
           .experts = ExpertLayout::kQwen},
    Family{.architecture = "FlexOlmoForCausalLM",
           .config_class = "FlexOlmoConfig",
           .norms = NormPlacement::kAfter,
           .query_key_norm = QueryKeyNorm::kWholeWidth,
           .experts = ExpertLayout::kQwen},
    Family{.architecture = "SmolLM3ForCausalLM",
           .config_class = "SmolLM3Config",
           .windows = WindowRule::kUnrotatedIfAsked,
           .has_layer_types = true,
           .gguf_rotary_neighbours = true,
           .unrotated = UnrotatedLayers::kListed},
    Family{.architecture = "GptOssForCausalLM",
           .config_class = "GptOssConfig",
           .windows = WindowRule::kAllButEveryNth,
           .window_period = 2,
           .has_layer_types = true,
           .has_sinks = true,
           .activation = Activation::kClampedSwiglu,
           .experts = ExpertLayout::kGptOss},
    Family{.architecture = "GraniteForCausalLM",
           .config_class = "GraniteConfig",
           .gguf_rotary_neighbours = true},
    Family{.architecture = "SeedOssForCausalLM", .config_class = "SeedOssConfig"},
    Family{.architecture = "Exaone4ForCausalLM",
           .config_class = "Exaone4Config",
           .bias = BiasRule::kNever,
           .windows = WindowRule::kAllButEveryNth,
           .window_period = 4,
           .period_in_config = true,
           .has_layer_types = true,
           .norms = NormPlacement::kAfter,
           .query_key_norm = QueryKeyNorm::kPerHead,
           .unrotated = UnrotatedLayers::kFullBesideSliding},
    Family{.architecture = "HunYuanDenseV1ForCausalLM",
           .config_class = "HunYuanDenseV1Config",
           .query_key_norm = QueryKeyNorm::kPerHeadRotated,
           .has_rope_alpha = true},
    Family{.architecture = "GlmForCausalLM",
           .config_class = "GlmConfig",
           .bias = BiasRule::kQueryKeyValueOfConfig,
           .mlp = MlpLayout::kFusedGated,
           .rotary_neighbours = true,
           .rotates_partially = true},
    Family{.architecture = "Glm4ForCausalLM",
           .config_class = "Glm4Config",
           .bias = BiasRule::kQueryKeyValueOfConfig,
           .norms = NormPlacement::kAroundGlm,
           .mlp = MlpLayout::kFusedGated,
           .rotary_neighbours = true,
           .rotates_partially = true},
    Family{.architecture = "Ernie4_5ForCausalLM",
           .config_class = "Ernie4_5Config",
           .rotary_neighbours = true},
    Family{.architecture = "HeliumForCausalLM",
           .config_class = "HeliumConfig",
           .bias = BiasRule::kQueryKeyValueOfConfig,
           .rotary_neighbours = true},
    Family{.architecture = "CohereForCausalLM",
           .config_class = "CohereConfig",
           .norms = NormPlacement::kParallel,
           .norm_kind = NormKind::kLayer,
           .rotary_neighbours = true},
    Family{.architecture = "Cohere2ForCausalLM",
           .config_class = "Cohere2Config",
           .windows = WindowRule::kAllButEveryNth,
           .window_period = 4,
           .period_in_config = true,
           .has_layer_types = true,
           .norms = NormPlacement::kParallel,
           .norm_kind = NormKind::kLayer,
           .rotary_neighbours = true,
           .unrotated = UnrotatedLayers::kFull},
    Family{.architecture = "ArceeForCausalLM",
           .config_class = "ArceeConfig",
           .mlp = MlpLayout::kPlain,
           .gguf_rotary_neighbours = true},
    Family{.architecture = "Starcoder2ForCausalLM",
           .config_class = "Starcoder2Config",
           .windows = WindowRule::kEveryLayer,
           .norm_kind = NormKind::kLayerBiased,
           .mlp = MlpLayout::kPlainStarcoder},
    Family{.architecture = "NemotronForCausalLM",
           .config_class = "NemotronConfig",
           .norm_kind = NormKind::kLayerBiased,
           .norms_add_one = true,
           .mlp = MlpLayout::kPlain,
           .rotates_partially = true},
    Family{.architecture = "StableLmForCausalLM",
           .config_class = "StableLmConfig",
           .bias = BiasRule::kQueryKeyValueOfConfig,
           .norm_kind = NormKind::kLayerBiased,
           .rotates_partially = true},
};

constexpr std::array kWrappers = {
    Wrapper{"Gemma3ForConditionalGeneration", "Gemma3Config", "gemma3_text"},
    Wrapper{"Mistral3ForConditionalGeneration", "Mistral3Config", "mistral"},
    Wrapper{"LlavaForConditionalGeneration", "LlavaConfig", "llama"},
    Wrapper{"LlavaNextForConditionalGeneration", "LlavaNextConfig", "llama"},
    Wrapper{"LlavaOnevisionForConditionalGeneration", "LlavaOnevisionConfig", "qwen2"},
    Wrapper{"Qwen2VLForConditionalGeneration", "Qwen2VLConfig", "qwen2_vl_text"},
    Wrapper{"Qwen2_5_VLForConditionalGeneration", "Qwen2_5_VLConfig", "qwen2_5_vl_text"},
    Wrapper{"Qwen3VLForConditionalGeneration", "Qwen3VLConfig", "qwen3_vl_text"},
    Wrapper{"InternVLForConditionalGeneration", "InternVLConfig", "qwen2"},
    Wrapper{"Idefics3ForConditionalGeneration", "Idefics3Config", "llama"},
    Wrapper{"SmolVLMForConditionalGeneration", "SmolVLMConfig", "llama"},
};

// Text models that occur only inside a wrapper.
bool IsInnerModel(const Family& family) { return family.architecture.ends_with("TextModel"); }

}  // namespace

const Family* FindFamily(std::string_view architecture) {
  for (const Family& family : kFamilies) {
    if (family.architecture == architecture) return &family;
  }
  return nullptr;
}

const Family* FindFamilyByModelType(std::string_view model_type) {
  for (const Family& family : kFamilies) {
    if (ClassDefaults(family.config_class).at("model_type") == model_type) return &family;
  }
  return nullptr;
}

const Wrapper* FindWrapper(std::string_view architecture) {
  for (const Wrapper& wrapper : kWrappers) {
    if (wrapper.architecture == architecture) return &wrapper;
  }
  return nullptr;
}

std::string FamilyNames() {
  std::string names;
  for (const Family& family : kFamilies) {
    if (IsInnerModel(family)) continue;
    if (!names.empty()) names += ", ";
    names += family.architecture;
  }
  for (const Wrapper& wrapper : kWrappers) {
    names += ", ";
    names += wrapper.architecture;
  }
  return names;
}

std::string_view ReasonOfRefusal(std::string_view architecture) {
  for (const Refusal& refusal : Refusals()) {
    if (refusal.architecture == architecture) return refusal.reason;
  }
  return {};
}

std::string ArchitectureTable() {
  std::vector<std::string> rows;
  for (const Family& family : kFamilies) {
    if (!IsInnerModel(family))
      rows.push_back(fmt::format("| `{}` | read |\n", family.architecture));
  }
  for (const Wrapper& wrapper : kWrappers) {
    rows.push_back(fmt::format("| `{}` | its text model is read |\n", wrapper.architecture));
  }
  for (const Refusal& refusal : Refusals()) {
    rows.push_back(fmt::format("| `{}` | refused: {} |\n", refusal.architecture, refusal.reason));
  }
  std::ranges::sort(rows);
  return fmt::format("| architecture | what kvtune does |\n|---|---|\n{}", fmt::join(rows, ""));
}

}  // namespace kvtune
