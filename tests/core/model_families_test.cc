// What every family has, as its class in transformers has it: each line states what a decoder of
// the same small sizes becomes under the name of one architecture.
#include "lib/core/model_families.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace kvtune {
namespace {

// Every field that only some classes have is given, so that a class which ignores it shows.
Json ConfigOf(const std::string& architecture) {
  Json config = {{"architectures", {architecture}},
                 {"hidden_size", 96},
                 {"intermediate_size", 128},
                 {"num_attention_heads", 6},
                 {"num_key_value_heads", 2},
                 {"num_hidden_layers", 6},
                 {"head_dim", 16},
                 {"vocab_size", 100},
                 {"max_position_embeddings", 512},
                 {"sliding_window", 100},
                 {"use_sliding_window", true},
                 {"max_window_layers", 4},
                 {"attention_bias", true},
                 {"mlp_bias", true},
                 {"num_experts_per_tok", 2}};
  if (architecture == "ArceeForCausalLM" || architecture == "NemotronForCausalLM")
    config["hidden_act"] = "relu2";
  if (architecture == "Starcoder2ForCausalLM") config["hidden_act"] = "gelu_pytorch_tanh";
  return config;
}

std::string WordOf(NormPlacement placement) {
  switch (placement) {
    case NormPlacement::kBefore:
      return "before";
    case NormPlacement::kAfter:
      return "after";
    case NormPlacement::kAround:
      return "around";
    case NormPlacement::kAroundGlm:
      return "around-glm";
    case NormPlacement::kParallel:
      return "parallel";
  }
  return "?";
}

std::string WordOf(QueryKeyNorm norm) {
  switch (norm) {
    case QueryKeyNorm::kNone:
      return "none";
    case QueryKeyNorm::kPerHead:
      return "head";
    case QueryKeyNorm::kWholeWidth:
      return "width";
    case QueryKeyNorm::kPerHeadRotated:
      return "head-rotated";
  }
  return "?";
}

std::string WordOf(const ModelConfig& model) {
  switch (model.mlp) {
    case MlpLayout::kGated:
      break;
    case MlpLayout::kFusedGated:
      return "fused";
    case MlpLayout::kPlain:
      return "plain-relu2";
    case MlpLayout::kPlainStarcoder:
      return "starcoder-gelu";
  }
  switch (model.activation) {
    case Activation::kSilu:
      return "silu";
    case Activation::kGeluTanh:
      return "gelu";
    case Activation::kClampedSwiglu:
      return "clamped";
  }
  return "?";
}

// The norms, the MLP, what is biased, and then by layer: "w" a window, "r" and "R" the first and
// the second rotation, "-" none.
std::string Describe(const ModelConfig& model) {
  std::string text = model.architecture + ": norms " + WordOf(model.norm_placement);
  text += model.norm_kind == NormKind::kRms     ? ""
          : model.norm_kind == NormKind::kLayer ? " layer"
                                                : " biased";
  if (model.norms_add_one) text += " +1";
  text += ", qk " + WordOf(model.query_key_norm) + ", mlp " + WordOf(model);
  if (model.experts.count > 0) {
    const char* layouts[] = {"mixtral", "qwen", "gpt-oss"};
    text += std::string(" experts ") + layouts[static_cast<size_t>(model.experts.layout)];
    if (model.experts.renormalized) text += " renormalized";
    if (model.experts.shared_intermediate_size > 0) text += " shared";
  }
  text += ", bias";
  if (model.query_key_value_bias) text += " qkv";
  if (model.output_bias) text += " o";
  if (model.mlp_bias) text += " mlp";
  if (!model.query_key_value_bias && !model.output_bias && !model.mlp_bias) text += " none";
  if (model.embedding_scale != 1) text += ", scaled embedding";
  if (model.attention_sinks) text += ", sinks";
  if (model.attention_soft_cap > 0) text += ", soft caps";
  if (model.fused_query_key_value) text += ", fused qkv";
  if (model.gguf_rotary_neighbours) text += ", gguf pairs";
  if (model.rotary_neighbours) text += ", neighbours";
  if (model.ropes[0].rotary_dim < 16) text += ", partial";
  if (model.tied_embeddings) text += ", tied";
  text += ", layers";
  for (const LayerConfig& layer : model.layers) {
    text += layer.rope ? (*layer.rope == 0 ? " r" : " R") : " -";
    if (layer.window_tokens > 0) text += "w";
    if (layer.window_tokens > 0 && layer.window_tokens != 100) text += "?";
  }
  return text;
}

TEST(ModelFamilies, AreAsTheirClassesInTransformers) {
  const std::vector<std::string> expected = {
      "LlamaForCausalLM: norms before, qk none, mlp silu, bias qkv o mlp, gguf pairs, layers r r r "
      "r r r",
      "MistralForCausalLM: norms before, qk none, mlp silu, bias none, gguf pairs, layers rw rw rw "
      "rw rw rw",
      "MinistralForCausalLM: norms before, qk none, mlp silu, bias none, gguf pairs, layers rw rw "
      "rw rw rw rw",
      "Ministral3ForCausalLM: norms before, qk none, mlp silu, bias none, gguf pairs, layers rw rw "
      "rw rw rw rw",
      "Qwen2ForCausalLM: norms before, qk none, mlp silu, bias qkv, layers r r r r rw rw",
      "MiMoForCausalLM: norms before, qk none, mlp silu, bias qkv, layers r r r r rw rw",
      "Qwen2MoeForCausalLM: norms before, qk none, mlp silu experts qwen shared, bias qkv, layers "
      "rw r rw r r r",
      "Qwen3ForCausalLM: norms before, qk head, mlp silu, bias qkv o, layers r r r r rw rw",
      "Qwen3MoeForCausalLM: norms before, qk head, mlp silu experts qwen, bias qkv o, layers rw rw "
      "rw rw rw rw",
      "MixtralForCausalLM: norms before, qk none, mlp silu experts mixtral renormalized, bias "
      "none, gguf pairs, layers rw rw rw rw rw rw",
      "GemmaForCausalLM: norms before +1, qk none, mlp gelu, bias qkv o, scaled embedding, tied, "
      "layers r r r r r r",
      "Gemma2ForCausalLM: norms around +1, qk none, mlp gelu, bias qkv o, scaled embedding, soft "
      "caps, tied, layers rw r rw r rw r",
      "Gemma3ForCausalLM: norms around +1, qk head, mlp gelu, bias qkv o, scaled embedding, tied, "
      "layers Rw Rw Rw Rw Rw r",
      "Phi3ForCausalLM: norms before, qk none, mlp fused, bias none, fused qkv, layers rw rw rw rw "
      "rw rw",
      "Olmo2ForCausalLM: norms after, qk width, mlp silu, bias qkv o, layers r r r r r r",
      "Olmo3ForCausalLM: norms after, qk width, mlp silu, bias qkv o, layers Rw Rw Rw r Rw Rw",
      "OlmoeForCausalLM: norms before, qk width, mlp silu experts qwen, bias qkv o, layers r r r r "
      "r r",
      "FlexOlmoForCausalLM: norms after, qk width, mlp silu experts qwen, bias qkv o, layers r r r "
      "r r r",
      "SmolLM3ForCausalLM: norms before, qk none, mlp silu, bias qkv o mlp, gguf pairs, tied, "
      "layers r r r -w r r",
      "GptOssForCausalLM: norms before, qk none, mlp clamped experts gpt-oss renormalized, bias "
      "qkv o, sinks, layers rw r rw r rw r",
      "GraniteForCausalLM: norms before, qk none, mlp silu, bias qkv o mlp, gguf pairs, layers r r "
      "r r r r",
      "SeedOssForCausalLM: norms before, qk none, mlp silu, bias qkv mlp, layers r r r r r r",
      "Exaone4ForCausalLM: norms after, qk head, mlp silu, bias none, layers rw rw rw - rw rw",
      "HunYuanDenseV1ForCausalLM: norms before, qk head-rotated, mlp silu, bias qkv o, layers r r "
      "r r r r",
      "GlmForCausalLM: norms before, qk none, mlp fused, bias qkv, neighbours, partial, layers r r "
      "r r r r",
      "Glm4ForCausalLM: norms around-glm, qk none, mlp fused, bias qkv, neighbours, partial, "
      "layers r r r r r r",
      "Ernie4_5ForCausalLM: norms before, qk none, mlp silu, bias none, neighbours, tied, layers r "
      "r r r r r",
      "HeliumForCausalLM: norms before, qk none, mlp silu, bias qkv mlp, neighbours, layers r r r "
      "r r r",
      "CohereForCausalLM: norms parallel layer, qk none, mlp silu, bias qkv o, neighbours, tied, "
      "layers r r r r r r",
      "Cohere2ForCausalLM: norms parallel layer, qk none, mlp silu, bias qkv o, neighbours, tied, "
      "layers rw rw rw - rw rw",
      "ArceeForCausalLM: norms before, qk none, mlp plain-relu2, bias qkv o mlp, gguf pairs, "
      "layers r r r r r r",
      "Starcoder2ForCausalLM: norms before biased, qk none, mlp starcoder-gelu, bias qkv o mlp, "
      "tied, layers rw rw rw rw rw rw",
      "NemotronForCausalLM: norms before biased +1, qk none, mlp plain-relu2, bias qkv o mlp, "
      "partial, layers r r r r r r",
      "StableLmForCausalLM: norms before biased, qk none, mlp silu, bias none, partial, layers r r "
      "r r r r",
  };
  std::vector<std::string> found;
  const std::string names = FamilyNames();
  for (size_t begin = 0; begin < names.size();) {
    const size_t end = std::min(names.find(", ", begin), names.size());
    const std::string name = names.substr(begin, end - begin);
    begin = end + 2;
    if (FindFamily(name) != nullptr) {
      found.push_back(Describe(ParseModelConfig(ConfigOf(name), "config.json")));
    }
  }
  EXPECT_EQ(found, expected);
}

// Text models that occur only inside a model that also reads images.
TEST(ModelFamilies, InnerModelsHaveSectionsInTheirRotation) {
  for (const char* name : {"Qwen2VLTextModel", "Qwen2_5_VLTextModel", "Qwen3VLTextModel"}) {
    ASSERT_NE(FindFamily(name), nullptr) << name;
    for (const char* type : {"default", "mrope"}) {
      Json config = ConfigOf(name);
      config["rope_scaling"] = {{"rope_type", type}, {"mrope_section", {2, 3, 3}}};
      EXPECT_EQ(ParseModelConfig(config, "config.json").ropes[0].type, RopeType::kDefault) << name;
    }
    EXPECT_EQ(FamilyNames().find(name), std::string::npos) << name;
    EXPECT_EQ(ArchitectureTable().find(name), std::string::npos) << name;
  }
}

TEST(ModelFamilies, WrappersNameTheirTextModel) {
  for (const auto& [name, text_model] :
       {std::pair{"Gemma3ForConditionalGeneration", "Gemma3ForCausalLM"},
        {"Mistral3ForConditionalGeneration", "MistralForCausalLM"},
        {"LlavaForConditionalGeneration", "LlamaForCausalLM"},
        {"LlavaNextForConditionalGeneration", "LlamaForCausalLM"},
        {"LlavaOnevisionForConditionalGeneration", "Qwen2ForCausalLM"},
        {"Qwen2VLForConditionalGeneration", "Qwen2VLTextModel"},
        {"Qwen2_5_VLForConditionalGeneration", "Qwen2_5_VLTextModel"},
        {"Qwen3VLForConditionalGeneration", "Qwen3VLTextModel"},
        {"InternVLForConditionalGeneration", "Qwen2ForCausalLM"},
        {"Idefics3ForConditionalGeneration", "LlamaForCausalLM"},
        {"SmolVLMForConditionalGeneration", "LlamaForCausalLM"}}) {
    const Wrapper* wrapper = FindWrapper(name);
    ASSERT_NE(wrapper, nullptr) << name;
    const Family* family = FindFamilyByModelType(wrapper->text_model_type);
    ASSERT_NE(family, nullptr) << name;
    EXPECT_EQ(family->architecture, text_model) << name;
  }
  EXPECT_EQ(FindWrapper("LlamaForCausalLM"), nullptr);
  EXPECT_EQ(FindFamily("LlavaForConditionalGeneration"), nullptr);
  EXPECT_EQ(FindFamilyByModelType("mamba"), nullptr);
}

TEST(ModelFamilies, AReasonIsGivenForKnownArchitecturesOnly) {
  EXPECT_NE(ReasonOfRefusal("DeepseekV3ForCausalLM"), "");
  EXPECT_EQ(ReasonOfRefusal("LlamaForCausalLM"), "");
  EXPECT_EQ(ReasonOfRefusal("NewForCausalLM"), "");
}

}  // namespace
}  // namespace kvtune
