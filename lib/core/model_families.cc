#include "lib/core/model_families.h"

#include <array>
#include <string>

namespace kvtune {
namespace {

// Defaults are those of the family's configuration class in transformers 5.17.
constexpr std::array kFamilies = {
    Family{.architecture = "LlamaForCausalLM", .gguf_rotary_neighbours = true},
    Family{.architecture = "MistralForCausalLM",
           .bias = BiasRule::kNever,
           .windows = WindowRule::kEveryLayer,
           .default_window = 4096,
           .gguf_rotary_neighbours = true},
    Family{.architecture = "Qwen2ForCausalLM",
           .bias = BiasRule::kQueryKeyValue,
           .windows = WindowRule::kFromLayerIfAsked,
           .default_window = 4096},
    // Qwen2 with layers for multi-token prediction, which decoding does without.
    Family{.architecture = "MiMoForCausalLM",
           .bias = BiasRule::kQueryKeyValue,
           .windows = WindowRule::kFromLayerIfAsked,
           .default_window = 4096},
    Family{.architecture = "Qwen3ForCausalLM",
           .windows = WindowRule::kFromLayerIfAsked,
           .default_window = 4096,
           .query_key_norm = QueryKeyNorm::kPerHead},
    Family{.architecture = "Qwen3MoeForCausalLM",
           .windows = WindowRule::kEveryLayerIfAsked,
           .default_window = 4096,
           .query_key_norm = QueryKeyNorm::kPerHead,
           .experts = ExpertLayout::kQwen},
    Family{.architecture = "MixtralForCausalLM",
           .bias = BiasRule::kNever,
           .windows = WindowRule::kEveryLayer,
           .experts = ExpertLayout::kMixtral,
           .gguf_rotary_neighbours = true,
           .default_rope_theta = 1e6},
    Family{.architecture = "Gemma2ForCausalLM",
           .windows = WindowRule::kAllButEveryNth,
           .default_window = 4096,
           .window_period = 2,
           .norms = NormPlacement::kAround,
           .norms_add_one = true,
           .scales_embedding = true,
           .has_query_scalar = true,
           .has_soft_caps = true,
           .default_attention_soft_cap = 50,
           .default_logit_soft_cap = 30,
           .tied_by_default = true},
    Family{.architecture = "Gemma3ForCausalLM",
           .windows = WindowRule::kAllButEveryNth,
           .default_window = 4096,
           .window_period = 6,
           .norms = NormPlacement::kAround,
           .query_key_norm = QueryKeyNorm::kPerHead,
           .norms_add_one = true,
           .scales_embedding = true,
           .has_query_scalar = true,
           .has_soft_caps = true,
           .has_local_rope = true,
           .default_rope_theta = 1e6,
           .tied_by_default = true},
    Family{.architecture = "Phi3ForCausalLM",
           .bias = BiasRule::kNever,
           .windows = WindowRule::kEveryLayer,
           .fused_projections = true,
           .rotates_partially = true},
    Family{.architecture = "Olmo2ForCausalLM",
           .norms = NormPlacement::kAfter,
           .query_key_norm = QueryKeyNorm::kWholeWidth},
    Family{.architecture = "SmolLM3ForCausalLM",
           .windows = WindowRule::kUnrotatedIfAsked,
           .gguf_rotary_neighbours = true,
           .has_unrotated_layers = true,
           .default_rope_theta = 2e6,
           .tied_by_default = true},
    Family{.architecture = "GptOssForCausalLM",
           .biased_by_default = true,
           .windows = WindowRule::kAllButEveryNth,
           .default_window = 128,
           .window_period = 2,
           .has_sinks = true,
           .activation = Activation::kClampedSwiglu,
           .experts = ExpertLayout::kGptOss,
           .default_rope_theta = 150000},
};

struct Refusal {
  std::string_view architecture;
  std::string_view reason;
};

constexpr std::string_view kLatentAttention =
    "multi-head latent attention caches a compressed latent, not keys and values";
constexpr std::string_view kStateSpace = "state-space layers have no keys and values";
constexpr std::string_view kLinearAttention =
    "linear attention layers keep a state, not keys and values";
constexpr std::string_view kMultimodal = "it reads images, kvtune runs text decoders";

constexpr std::array kRefusals = {
    Refusal{"DeepseekV2ForCausalLM", kLatentAttention},
    Refusal{"DeepseekV3ForCausalLM", kLatentAttention},
    Refusal{"MiniCPM3ForCausalLM", kLatentAttention},
    Refusal{"MambaForCausalLM", kStateSpace},
    Refusal{"Mamba2ForCausalLM", kStateSpace},
    Refusal{"FalconMambaForCausalLM", kStateSpace},
    Refusal{"JambaForCausalLM", kStateSpace},
    Refusal{"BambaForCausalLM", kStateSpace},
    Refusal{"Zamba2ForCausalLM", kStateSpace},
    Refusal{"NemotronHForCausalLM", kStateSpace},
    Refusal{"RecurrentGemmaForCausalLM", "recurrent layers have no keys and values"},
    Refusal{"Qwen3NextForCausalLM", kLinearAttention},
    Refusal{"Qwen3_5ForCausalLM", kLinearAttention},
    Refusal{"Qwen3_5ForConditionalGeneration", kLinearAttention},
    Refusal{"MiniMaxM1ForCausalLM", kLinearAttention},
    Refusal{"DeciLMForCausalLM", "some of its layers have no attention and no keys and values"},
    Refusal{"Gemma3ForConditionalGeneration", kMultimodal},
    Refusal{"Gemma4ForConditionalGeneration", kMultimodal},
    Refusal{"Llama4ForConditionalGeneration", kMultimodal},
    Refusal{"GPT2LMHeadModel", "learned positions and layer norms with a bias are not supported"},
    Refusal{"PhiForCausalLM",
            "attention beside the MLP and layer norms with a bias are not supported"},
    Refusal{"InternLM2ForCausalLM",
            "its tensors have names and an order of their own; a checkpoint converted to "
            "LlamaForCausalLM can be read"},
};

}  // namespace

const Family* FindFamily(std::string_view architecture) {
  for (const Family& family : kFamilies) {
    if (family.architecture == architecture) return &family;
  }
  return nullptr;
}

std::string FamilyNames() {
  std::string names;
  for (const Family& family : kFamilies) {
    if (!names.empty()) names += ", ";
    names += family.architecture;
  }
  return names;
}

std::string_view ReasonOfRefusal(std::string_view architecture) {
  for (const Refusal& refusal : kRefusals) {
    if (refusal.architecture == architecture) return refusal.reason;
  }
  return {};
}

}  // namespace kvtune
