#include "lib/core/model_config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <nlohmann/json.hpp>

#include "lib/base/error.h"
#include "lib/base/file.h"
#include "lib/core/model_families.h"

namespace kvtune {
namespace {

namespace fs = std::filesystem;

using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::StrEq;
using ::testing::ThrowsMessage;

Json SmallConfig() {
  return {{"architectures", {"LlamaForCausalLM"}},
          {"hidden_act", "silu"},
          {"hidden_size", 96},
          {"intermediate_size", 128},
          {"num_attention_heads", 6},
          {"num_key_value_heads", 2},
          {"num_hidden_layers", 3},
          {"vocab_size", 100},
          {"max_position_embeddings", 512},
          {"rms_norm_eps", 1e-5}};
}

// SmallConfig with these keys changed; null takes a key out.
ModelConfig ParseWith(const Json& changes) {
  Json config = SmallConfig();
  for (const auto& [key, value] : changes.items()) {
    if (value.is_null()) {
      config.erase(key);
    } else {
      config[key] = value;
    }
  }
  return ParseModelConfig(config, "config.json");
}

auto ParsingWith(const Json& changes) {
  return [changes] { ParseWith(changes); };
}

TEST(ModelConfig, ReadsSizesAndDefaults) {
  const ModelConfig model = ParseModelConfig(SmallConfig(), "config.json");
  EXPECT_EQ(model.architecture, "LlamaForCausalLM");
  EXPECT_EQ(model.layer_count(), 3);
  EXPECT_EQ(model.hidden_size, 96);
  EXPECT_EQ(model.intermediate_size, 128);
  EXPECT_EQ(model.query_heads, 6);
  EXPECT_EQ(model.layers[0].kv_heads, 2);
  EXPECT_EQ(model.layers[0].key_head_dim, 16);
  EXPECT_EQ(model.layers[0].kv_width(KvSide::kValue), 32);
  EXPECT_EQ(model.vocab_size, 100);
  EXPECT_EQ(model.max_position_embeddings, 512);
  EXPECT_EQ(model.norm_eps, 1e-5);
  ASSERT_EQ(model.ropes.size(), 1u);
  EXPECT_EQ(model.ropes[0].theta, 10000);
  EXPECT_FALSE(model.query_key_value_bias || model.output_bias || model.mlp_bias);
  EXPECT_FALSE(model.tied_embeddings);
}

TEST(ModelConfig, HeadsMayBeWiderThanTheirShareOfTheHiddenSize) {
  EXPECT_EQ(ParseWith({{"head_dim", 64}}).layers[0].key_head_dim, 64);
  EXPECT_EQ(ParseWith({{"head_dim", 8}, {"hidden_size", 100}}).layers[0].key_head_dim, 8);
  // StableLM's class has no such field, and divides.
  const Json stable = {"StableLmForCausalLM"};
  EXPECT_EQ(ParseWith({{"architectures", stable}, {"head_dim", 16}}).layers[0].key_head_dim, 16);
  EXPECT_THAT(ParsingWith({{"architectures", stable}, {"head_dim", 64}}),
              ThrowsMessage<Error>(HasSubstr("\"head_dim\": found 64, expected 16, as this ")));
  // Without the field every query head has its own keys.
  EXPECT_EQ(ParseWith({{"num_key_value_heads", nullptr}}).layers[0].kv_heads, 6);
}

// What the published file of Qwen3-0.6B without head_dim means, and of others.
TEST(ModelConfig, FieldsThatAreLeftOutAreThoseOfTheClass) {
  const auto first_layer = [](const char* architecture, Json changes) {
    changes["architectures"] = {architecture};
    return ParseWith(changes).layers[0];
  };
  EXPECT_EQ(first_layer("Qwen3ForCausalLM", {{"num_hidden_layers", 2}}).key_head_dim, 128);
  EXPECT_EQ(first_layer("Gemma3ForCausalLM", {{"num_hidden_layers", 2}}).key_head_dim, 256);
  const Json heads = {
      {"num_key_value_heads", nullptr}, {"num_attention_heads", 32}, {"hidden_size", 128}};
  EXPECT_EQ(first_layer("MistralForCausalLM", heads).kv_heads, 8);
  EXPECT_EQ(first_layer("Qwen3ForCausalLM", heads).kv_heads, 32);
  EXPECT_EQ(ParseWith({{"num_hidden_layers", nullptr}}).layer_count(), 32);
  const ModelConfig gpt_oss =
      ParseWith({{"architectures", {"GptOssForCausalLM"}}, {"hidden_size", 64}});
  EXPECT_EQ(gpt_oss.ropes[0].type, RopeType::kYarn);
  EXPECT_EQ(gpt_oss.ropes[0].theta, 150000);
  EXPECT_FALSE(gpt_oss.ropes[0].truncated);
  EXPECT_EQ(gpt_oss.layers[0].key_head_dim, 64);
  EXPECT_EQ(gpt_oss.experts.count, 128);
  const ModelConfig gemma = ParseWith({{"architectures", {"Gemma2ForCausalLM"}}, {"head_dim", 32}});
  EXPECT_DOUBLE_EQ(gemma.attention_scale, 1.0 / 16);
}

TEST(ModelConfig, FieldsThatTheClassDoesNotKnowAreIgnored) {
  EXPECT_FALSE(ParseWith({{"architectures", {"Qwen2ForCausalLM"}}, {"mlp_bias", true}}).mlp_bias);
  EXPECT_EQ(ParseWith({{"architectures", {"Gemma2ForCausalLM"}}, {"sliding_window_pattern", 3}})
                .layers[1]
                .window_tokens,
            0);
  EXPECT_EQ(ParseWith({{"attn_logit_softcapping", 3.0}}).attention_soft_cap, 0);
}

TEST(ModelConfig, TextModelsOfThoseThatReadImages) {
  Json text = SmallConfig();
  text.erase("architectures");
  text["model_type"] = "mistral";
  text["sliding_window"] = 64;
  const Json whole = {{"architectures", {"Mistral3ForConditionalGeneration"}},
                      {"model_type", "mistral3"},
                      {"tie_word_embeddings", false},
                      {"text_config", text}};
  const ModelConfig mistral = ParseModelConfig(whole, "config.json");
  EXPECT_TRUE(mistral.reads_images);
  EXPECT_FALSE(mistral.tied_embeddings);
  EXPECT_EQ(mistral.hidden_size, 96);
  EXPECT_EQ(mistral.layers[2].window_tokens, 64);
  // Gemma 3's published files leave nearly all of it out.
  const Json gemma = {{"architectures", {"Gemma3ForConditionalGeneration"}},
                      {"text_config",
                       {{"model_type", "gemma3_text"},
                        {"hidden_size", 2560},
                        {"num_hidden_layers", 34},
                        {"rope_scaling", {{"factor", 8.0}, {"rope_type", "linear"}}},
                        {"sliding_window", 1024}}}};
  const ModelConfig small_gemma = ParseModelConfig(gemma, "config.json");
  EXPECT_EQ(small_gemma.query_heads, 8);
  EXPECT_EQ(small_gemma.layers[0].kv_heads, 4);
  EXPECT_EQ(small_gemma.layers[0].window_tokens, 1024);
  EXPECT_EQ(small_gemma.ropes[0].factor, 8);
  EXPECT_TRUE(small_gemma.tied_embeddings);
  Json other = whole;
  other["text_config"]["model_type"] = "chameleon";
  EXPECT_THAT([&] { ParseModelConfig(other, "config.json"); },
              ThrowsMessage<Error>(HasSubstr(
                  "config.json: text_config: \"model_type\": found \"chameleon\", expected")));
}

TEST(ModelConfig, ModelTypeHasToAgreeWithTheArchitecture) {
  EXPECT_THAT(
      ParsingWith({{"model_type", "mistral"}}),
      ThrowsMessage<Error>(HasSubstr("\"model_type\": found \"mistral\", expected \"llama\" as")));
  EXPECT_NO_THROW(ParseWith({{"model_type", "my_llama"}}));
}

TEST(ModelConfig, SizesThatNoModelHasAreRefused) {
  const int64_t huge = (int64_t{1} << 60) + 2;
  EXPECT_THAT(ParsingWith({{"num_attention_heads", huge}}),
              ThrowsMessage<Error>(HasSubstr("\"num_attention_heads\": found 1152921504606846978, "
                                             "expected at most 1048576")));
  EXPECT_THAT(ParsingWith({{"num_hidden_layers", 10'000'000}}),
              ThrowsMessage<Error>(HasSubstr("\"num_hidden_layers\": found 10000000, expected")));
  EXPECT_THAT(ParsingWith({{"intermediate_size", 1 << 24},
                           {"hidden_size", 6 << 21},
                           {"num_hidden_layers", 10'000}}),
              ThrowsMessage<Error>(HasSubstr("expected a model that can exist")));
}

// The table of docs/models.md.
TEST(ModelConfig, DocumentListsEveryArchitecture) {
  const std::string document = ReadFile(fs::path(KVTUNE_SOURCE_DIR) / "docs" / "models.md");
  EXPECT_NE(document.find(ArchitectureTable()), std::string::npos)
      << "docs/models.md differs from what `oracle_tool architectures` prints";
}

TEST(ModelConfig, BiasesDependOnTheFamily) {
  const ModelConfig llama = ParseWith({{"attention_bias", true}, {"mlp_bias", true}});
  EXPECT_TRUE(llama.query_key_value_bias && llama.output_bias && llama.mlp_bias);
  const ModelConfig qwen = ParseWith({{"architectures", {"Qwen2ForCausalLM"}},
                                      {"attention_bias", true},
                                      {"tie_word_embeddings", true}});
  EXPECT_TRUE(qwen.query_key_value_bias && qwen.tied_embeddings);
  EXPECT_FALSE(qwen.output_bias || qwen.mlp_bias);
  const ModelConfig mistral =
      ParseWith({{"architectures", {"MistralForCausalLM"}}, {"attention_bias", true}});
  EXPECT_FALSE(mistral.query_key_value_bias || mistral.output_bias);
}

// As llama.cpp's converter permutes them (convert_hf_to_gguf.py, the classes derived from
// LlamaModel).
TEST(ModelConfig, GgufFilesOfSomeFamiliesHaveRotaryPairsSideBySide) {
  for (const char* architecture :
       {"LlamaForCausalLM", "MistralForCausalLM", "SmolLM3ForCausalLM"}) {
    EXPECT_TRUE(ParseWith({{"architectures", {architecture}}}).gguf_rotary_neighbours)
        << architecture;
  }
  for (const char* architecture :
       {"Qwen2ForCausalLM", "Qwen3ForCausalLM", "Phi3ForCausalLM", "Olmo2ForCausalLM"}) {
    EXPECT_FALSE(ParseWith({{"architectures", {architecture}}}).gguf_rotary_neighbours)
        << architecture;
  }
}

TEST(ModelConfig, NullMeansAbsent) {
  Json config = SmallConfig();
  for (const char* key : {"rope_scaling", "rope_theta", "head_dim"}) {
    config[key] = nullptr;
  }
  EXPECT_EQ(ParseModelConfig(config, "config.json").layers[0].key_head_dim, 16);
}

TEST(ModelConfig, UnsupportedArchitecturesAreNamed) {
  EXPECT_THAT(
      ParsingWith({{"architectures", {"NewForCausalLM"}}}),
      ThrowsMessage<Error>(HasSubstr("config.json: \"architectures\": found NewForCausalLM, "
                                     "expected one of LlamaForCausalLM, Mistral")));
  EXPECT_THAT(ParsingWith({{"architectures", {"LlamaForCausalLM", "Other"}}}),
              ThrowsMessage<Error>(HasSubstr("found LlamaForCausalLM, Other, expected")));
  EXPECT_THAT(ParsingWith({{"architectures", Json::array()}}),
              ThrowsMessage<Error>(HasSubstr("\"architectures\": found none, expected")));
  EXPECT_THAT(ParsingWith({{"architectures", nullptr}}),
              ThrowsMessage<Error>(HasSubstr("\"architectures\": found nothing")));
}

TEST(ModelConfig, KnownArchitecturesAreRefusedWithTheReason) {
  EXPECT_THAT(
      ParsingWith({{"architectures", {"DeepseekV3ForCausalLM"}}}),
      ThrowsMessage<Error>(StrEq(
          "config.json: \"architectures\": found DeepseekV3ForCausalLM, which kvtune does not "
          "run: multi-head latent attention caches a compressed latent, not keys and values")));
  EXPECT_THAT(ParsingWith({{"architectures", {"Mamba2ForCausalLM"}}}),
              ThrowsMessage<Error>(HasSubstr("state-space layers have no keys and values")));
}

TEST(ModelConfig, UnsupportedOptionsAreRefused) {
  EXPECT_THAT(ParsingWith({{"hidden_act", "gelu"}}),
              ThrowsMessage<Error>(HasSubstr("\"hidden_act\": found \"gelu\", expected \"silu\" or "
                                             "\"gelu_pytorch_tanh\"")));
  EXPECT_THAT(ParsingWith({{"use_bidirectional_attention", true}}),
              ThrowsMessage<Error>(HasSubstr("found true, expected a causal decoder")));
}

// window_tokens of every layer.
std::vector<int64_t> WindowsWith(Json changes) {
  changes["num_hidden_layers"] = 4;
  std::vector<int64_t> windows;
  for (const LayerConfig& layer : ParseWith(changes).layers) windows.push_back(layer.window_tokens);
  return windows;
}

TEST(ModelConfig, WindowsMayBeInEveryLayer) {
  const Json mistral = {"MistralForCausalLM"};
  const Json wide = 32768;
  EXPECT_THAT(WindowsWith({{"architectures", mistral}, {"sliding_window", 100}}), Each(100));
  // An older file without the field means the family's 4096, null means none.
  EXPECT_THAT(WindowsWith({{"architectures", mistral}, {"max_position_embeddings", wide}}),
              Each(4096));
  Json config = SmallConfig();
  config["architectures"] = mistral;
  config["max_position_embeddings"] = wide;
  config["sliding_window"] = nullptr;
  EXPECT_EQ(ParseModelConfig(config, "config.json").layers[0].window_tokens, 0);
  // The context is 512: it never fills these.
  EXPECT_THAT(WindowsWith({{"architectures", mistral}, {"sliding_window", 512}}), Each(0));
  EXPECT_THAT(WindowsWith({{"architectures", {"Phi3ForCausalLM"}}}), Each(0));
  // layer_types makes it Ministral; other families' code does not look at it.
  const Json types = {"full_attention", "sliding_attention", "full_attention", "full_attention"};
  EXPECT_THAT(
      WindowsWith({{"architectures", mistral}, {"sliding_window", 100}, {"layer_types", types}}),
      ElementsAre(0, 100, 0, 0));
  EXPECT_THAT(([&] {
                WindowsWith({{"architectures", {"Phi3ForCausalLM"}},
                             {"sliding_window", 100},
                             {"layer_types", types}});
              }),
              ThrowsMessage<Error>(HasSubstr("its code does not look at this field")));
  // A family that never slides.
  EXPECT_THAT(WindowsWith({{"sliding_window", 100}}), Each(0));
  EXPECT_THAT(ParsingWith({{"architectures", mistral}, {"sliding_window", 0}}),
              ThrowsMessage<Error>(HasSubstr("\"sliding_window\": found 0, expected a positive")));
}

// The layers without a window do not turn, the first one as any other.
TEST(ModelConfig, WhereFullLayersDoNotTurnTheirPlacesAreThoseOfLayerTypes) {
  Json config = SmallConfig();
  config["architectures"] = {"Cohere2ForCausalLM"};
  config["sliding_window"] = 100;
  config["layer_types"] = {"full_attention", "sliding_attention", "full_attention"};
  std::vector<bool> turns;
  for (const LayerConfig& layer : ParseModelConfig(config, "config.json").layers)
    turns.push_back(layer.rope.has_value());
  EXPECT_THAT(turns, ElementsAre(false, true, false));
}

TEST(ModelConfig, WindowsMayBeInSomeLayers) {
  Json qwen = {
      {"architectures", {"Qwen2ForCausalLM"}}, {"sliding_window", 100}, {"max_window_layers", 3}};
  EXPECT_THAT(WindowsWith(qwen), Each(0));
  qwen["use_sliding_window"] = true;
  EXPECT_THAT(WindowsWith(qwen), ElementsAre(0, 0, 0, 100));
  EXPECT_THAT(WindowsWith({{"architectures", {"Qwen2MoeForCausalLM"}},
                           {"num_experts", 8},
                           {"num_experts_per_tok", 2},
                           {"moe_intermediate_size", 24},
                           {"shared_expert_intermediate_size", 24},
                           {"sliding_window", 100},
                           {"max_window_layers", 2},
                           {"use_sliding_window", true}}),
              ElementsAre(100, 0, 0, 0));
  Json gemma = {{"architectures", {"Gemma2ForCausalLM"}}, {"sliding_window", 100}};
  EXPECT_THAT(WindowsWith(gemma), ElementsAre(100, 0, 100, 0));
  gemma["layer_types"] = {"full_attention", "full_attention", "sliding_attention",
                          "full_attention"};
  EXPECT_THAT(WindowsWith(gemma), ElementsAre(0, 0, 100, 0));
  gemma["layer_types"] = {"full_attention"};
  EXPECT_THAT(
      [&] { WindowsWith(gemma); },
      ThrowsMessage<Error>(HasSubstr("\"layer_types\": found 1 entries, expected 4, one a layer")));
  gemma["layer_types"] = {"full_attention", "linear_attention", "full_attention", "full_attention"};
  EXPECT_THAT(
      [&] { WindowsWith(gemma); },
      ThrowsMessage<Error>(HasSubstr("found \"linear_attention\", expected \"full_attention\"")));
}

TEST(ModelConfig, LayersMayBeWithoutRotation) {
  const auto rotated = [](Json changes) {
    changes["architectures"] = {"SmolLM3ForCausalLM"};
    std::vector<bool> layers;
    for (const LayerConfig& layer : ParseWith(changes).layers)
      layers.push_back(layer.rope.has_value());
    return layers;
  };
  EXPECT_THAT(rotated({{"no_rope_layers", {1, 0, 1}}}), ElementsAre(true, false, true));
  EXPECT_THAT(rotated({{"no_rope_layer_interval", 2}}), ElementsAre(true, false, true));
  EXPECT_THAT(
      [&] {
        rotated({{"no_rope_layers", {1}}});
      },
      ThrowsMessage<Error>(HasSubstr("\"no_rope_layers\": found 1 entries, expected 3")));
}

TEST(ModelConfig, SoftCapsAndScalesAreTheFamilys) {
  const ModelConfig gemma =
      ParseWith({{"architectures", {"Gemma2ForCausalLM"}}, {"query_pre_attn_scalar", 144}});
  EXPECT_EQ(gemma.attention_soft_cap, 50);
  EXPECT_EQ(gemma.logit_soft_cap, 30);
  EXPECT_DOUBLE_EQ(gemma.attention_scale, 1.0 / 12);
  EXPECT_DOUBLE_EQ(gemma.embedding_scale, std::sqrt(96.0));
  EXPECT_TRUE(gemma.norms_add_one && gemma.tied_embeddings);
  EXPECT_DOUBLE_EQ(ParseWith({}).attention_scale, 0.25);
}

TEST(ModelConfig, ExpertsMayBeInSomeLayers) {
  const Json qwen = {{"architectures", {"Qwen3MoeForCausalLM"}},
                     {"num_experts", 8},
                     {"num_experts_per_tok", 2},
                     {"moe_intermediate_size", 24},
                     {"mlp_only_layers", {1}}};
  const ModelConfig model = ParseWith(qwen);
  EXPECT_EQ(model.experts.count, 8);
  EXPECT_EQ(model.experts.intermediate_size, 24);
  EXPECT_FALSE(model.experts.renormalized);
  EXPECT_TRUE(model.layers[0].has_experts && !model.layers[1].has_experts &&
              model.layers[2].has_experts);
  Json sparse = qwen;
  sparse.erase("mlp_only_layers");
  sparse["decoder_sparse_step"] = 2;
  const ModelConfig every_other = ParseWith(sparse);
  EXPECT_TRUE(!every_other.layers[0].has_experts && every_other.layers[1].has_experts &&
              !every_other.layers[2].has_experts);
  Json greedy = qwen;
  greedy["num_experts_per_tok"] = 9;
  EXPECT_THAT(ParsingWith(greedy),
              ThrowsMessage<Error>(HasSubstr("found 9, expected no more than the 8 experts")));
}

TEST(ModelConfig, SizesHaveToBePositiveAndToFitEachOther) {
  for (const char* key :
       {"num_hidden_layers", "hidden_size", "intermediate_size", "vocab_size",
        "num_attention_heads", "num_key_value_heads", "max_position_embeddings", "head_dim"}) {
    EXPECT_THAT(ParsingWith({{key, 0}}),
                ThrowsMessage<Error>(HasSubstr(std::string("\"") + key +
                                               "\": found 0, expected a positive integer")));
  }
  EXPECT_THAT(ParsingWith({{"rms_norm_eps", "small"}}),
              ThrowsMessage<Error>(HasSubstr("\"rms_norm_eps\": found \"small\"")));
  EXPECT_THAT(ParsingWith({{"num_key_value_heads", 4}}),
              ThrowsMessage<Error>(HasSubstr("found 4 for 6 attention heads, expected a divisor")));
  EXPECT_THAT(
      ParsingWith({{"head_dim", 15}}),
      ThrowsMessage<Error>(HasSubstr("\"head_dim\": found 15, expected a positive even number")));
  EXPECT_THAT(ParsingWith({{"hidden_size", 100}}),
              ThrowsMessage<Error>(HasSubstr("\"hidden_size\": found 100 for 6 attention heads, "
                                             "expected a multiple, or head_dim")));
}

struct Published {
  int64_t layers, query_heads, kv_heads, head_dim, window = 0, sliding_layers = 0;
};

// The published configurations of the supported families, by directory.
const std::map<std::string, Published>& SupportedConfigs() {
  static const std::map<std::string, Published> configs = {
      {"Qwen--Qwen3-0.6B", {28, 16, 8, 128}},
      {"Qwen--Qwen3-1.7B", {28, 16, 8, 128}},
      {"Qwen--Qwen3-30B-A3B", {48, 32, 4, 128}},
      {"Qwen--Qwen3-32B", {64, 64, 8, 128}},
      {"Qwen--Qwen3-8B", {36, 32, 8, 128}},
      {"XiaomiMiMo--MiMo-7B-Base", {36, 32, 8, 128}},
      {"gemma2_27b", {46, 32, 16, 128, 4096, 23}},
      {"gemma2_2b", {26, 8, 4, 256, 4096, 13}},
      {"gemma2_9b", {42, 16, 8, 256, 4096, 21}},
      {"gemma3_1b_it", {26, 4, 1, 256, 512, 22}},
      {"llama2_13b", {40, 40, 40, 128}},
      {"llama2_7b", {32, 32, 32, 128}},
      {"llama3_1_70b", {80, 64, 8, 128}},
      {"llama3_1_8b", {32, 32, 8, 128}},
      {"llama3_2_1b", {16, 32, 8, 64}},
      {"llama3_2_3b", {28, 24, 8, 128}},
      {"meta-llama--Meta-Llama-3.1-405B", {126, 128, 8, 128}},
      {"meta-llama--Meta-Llama-3.1-70B", {80, 64, 8, 128}},
      {"meta-llama--Meta-Llama-3.1-8B", {32, 32, 8, 128}},
      {"mistral_7b", {32, 32, 8, 128, 4096, 32}},
      {"mistral_7b_v03", {32, 32, 8, 128}},
      {"mistralai--Mixtral-8x7B-v0.1", {32, 32, 8, 128}},
      {"nvidia--Llama-3.1-70B-Instruct-FP8", {80, 64, 8, 128}},
      {"olmo2_7b", {32, 32, 32, 128}},
      {"openai--gpt-oss-20b", {24, 64, 8, 64, 128, 12}},
      {"phi-3_5", {32, 32, 32, 96}},
      {"phi-4", {32, 24, 8, 128}},
      {"qwen2.5_3b", {36, 16, 2, 128}},
      {"qwen2_0_5b", {24, 14, 2, 64}},
      {"qwen2_1_5b", {28, 12, 2, 128}},
      {"qwen2_7b", {28, 28, 4, 128}},
      {"qwen3_0.6b", {28, 16, 8, 128}},
      {"qwen3_1.7b", {28, 16, 8, 128}},
      {"smollm2_135m", {30, 9, 3, 64}},
      {"smollm2_360m", {32, 15, 5, 64}},
      {"smollm_135m", {30, 9, 3, 64}},
      {"smollm_360m", {32, 15, 5, 64}},
      {"tinyllama_1b_chat_v1.0", {22, 32, 4, 64}},
  };
  return configs;
}

TEST(ModelConfig, PublishedConfigsAreReadRightOrRefusedWithTheReason) {
  const fs::path folder = fs::path(KVTUNE_SHARED_DATA_DIR) / "hf_configs";
  if (!fs::exists(folder)) GTEST_SKIP() << "no published configurations in " << folder;
  size_t supported_count = 0;
  for (const auto& entry : fs::directory_iterator(folder)) {
    const fs::path path = entry.path() / "config.json";
    SCOPED_TRACE(path);
    const auto supported = SupportedConfigs().find(entry.path().filename());
    if (supported == SupportedConfigs().end()) {
      const std::string architecture = ReadJsonFile(path)["architectures"][0];
      EXPECT_THAT([&] { ReadModelConfig(path); },
                  ThrowsMessage<Error>(HasSubstr(path.string() + ": \"architectures\": found " +
                                                 architecture + ", which kvtune does not run: ")));
      continue;
    }
    ++supported_count;
    const ModelConfig model = ReadModelConfig(path);
    EXPECT_EQ(model.layer_count(), supported->second.layers);
    EXPECT_EQ(model.query_heads, supported->second.query_heads);
    int64_t sliding_layers = 0;
    for (const LayerConfig& layer : model.layers) {
      EXPECT_EQ(layer.kv_heads, supported->second.kv_heads);
      EXPECT_EQ(layer.key_head_dim, supported->second.head_dim);
      EXPECT_EQ(layer.value_head_dim, supported->second.head_dim);
      if (layer.window_tokens == 0) continue;
      EXPECT_EQ(layer.window_tokens, supported->second.window);
      ++sliding_layers;
    }
    EXPECT_EQ(sliding_layers, supported->second.sliding_layers);
  }
  EXPECT_EQ(supported_count, SupportedConfigs().size());
}

TEST(ModelConfig, NumbersThatNoModelHasAreRefusedByName) {
  for (const double eps : {-1.0, 2.0, 1e300}) {
    EXPECT_THAT(ParsingWith({{"rms_norm_eps", eps}}),
                ThrowsMessage<Error>(HasSubstr("\"rms_norm_eps\": found ")));
  }
  EXPECT_NO_THROW(ParsingWith({{"rms_norm_eps", 0.0}})());
  for (const char* cap : {"attn_logit_softcapping", "final_logit_softcapping"}) {
    for (const double value : {-1.0, 1e300}) {
      EXPECT_THAT(ParsingWith({{"architectures", {"Gemma2ForCausalLM"}},
                               {"hidden_activation", "gelu_pytorch_tanh"},
                               {cap, value}}),
                  ThrowsMessage<Error>(HasSubstr(std::string(cap) + "\": found ")));
    }
  }
  for (const char* scale :
       {"attention_multiplier", "embedding_multiplier", "residual_multiplier", "logits_scaling"}) {
    for (const double value : {0.0, 1e-300, 1e300}) {
      EXPECT_THAT(ParsingWith({{"architectures", {"GraniteForCausalLM"}}, {scale, value}}),
                  ThrowsMessage<Error>(HasSubstr(std::string(scale) + "\": found ")));
    }
  }
}

}  // namespace
}  // namespace kvtune
