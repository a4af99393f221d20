#include "lib/core/model_config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <nlohmann/json.hpp>

#include "lib/base/error.h"

namespace kvtune {
namespace {

namespace fs = std::filesystem;

using ::testing::AllOf;
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

Json Llama3Rope() {
  return {{"rope_type", "llama3"},
          {"factor", 8.0},
          {"low_freq_factor", 1.0},
          {"high_freq_factor", 4},
          {"original_max_position_embeddings", 8192}};
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

TEST(ModelConfigTest, ReadsSizesAndDefaults) {
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
  EXPECT_EQ(model.rms_norm_eps, 1e-5);
  EXPECT_EQ(model.ropes[0].type, RopeType::kDefault);
  EXPECT_EQ(model.ropes[0].theta, 10000);
  EXPECT_FALSE(model.query_key_value_bias || model.output_bias || model.mlp_bias);
  EXPECT_FALSE(model.tied_embeddings);
}

TEST(ModelConfigTest, HeadsMayBeWiderThanTheirShareOfTheHiddenSize) {
  EXPECT_EQ(ParseWith({{"head_dim", 64}}).layers[0].key_head_dim, 64);
  EXPECT_EQ(ParseWith({{"head_dim", 8}, {"hidden_size", 100}}).layers[0].key_head_dim, 8);
  // Without the field every query head has its own keys.
  EXPECT_EQ(ParseWith({{"num_key_value_heads", nullptr}}).layers[0].kv_heads, 6);
}

TEST(ModelConfigTest, BiasesDependOnTheFamily) {
  const ModelConfig llama = ParseWith({{"attention_bias", true}, {"mlp_bias", true}});
  EXPECT_TRUE(llama.query_key_value_bias && llama.output_bias && llama.mlp_bias);
  const ModelConfig qwen =
      ParseWith({{"architectures", {"Qwen2ForCausalLM"}}, {"tie_word_embeddings", true}});
  EXPECT_TRUE(qwen.query_key_value_bias && qwen.tied_embeddings);
  EXPECT_FALSE(qwen.output_bias || qwen.mlp_bias);
}

TEST(ModelConfigTest, BothSpellingsOfTheRotaryFields) {
  EXPECT_EQ(ParseWith({{"rope_theta", 500000}}).ropes[0].theta, 500000);
  EXPECT_EQ(
      ParseWith({{"rope_parameters", {{"rope_type", "default"}, {"rope_theta", 1e6}}}}).ropes[0].theta,
      1e6);
  // A newer file may keep the base where older ones have it.
  EXPECT_EQ(
      ParseWith({{"rope_theta", 2e4}, {"rope_parameters", {{"rope_type", "default"}}}}).ropes[0].theta,
      2e4);

  Json parameters = Llama3Rope();
  parameters["rope_theta"] = 5e5;
  Json old_type = Llama3Rope();
  old_type.erase("rope_type");
  old_type["type"] = "llama3";
  const Json spellings[] = {{{"rope_theta", 5e5}, {"rope_scaling", Llama3Rope()}},
                            {{"rope_theta", 5e5}, {"rope_scaling", old_type}},
                            {{"rope_parameters", parameters}}};
  for (const Json& spelling : spellings) {
    const RopeConfig rope = ParseWith(spelling).ropes[0];
    EXPECT_EQ(rope.type, RopeType::kLlama3) << spelling;
    EXPECT_EQ(rope.theta, 5e5);
    EXPECT_EQ(rope.factor, 8);
    EXPECT_EQ(rope.low_freq_factor, 1);
    EXPECT_EQ(rope.high_freq_factor, 4);
    EXPECT_EQ(rope.original_max_position_embeddings, 8192);
  }
}

TEST(ModelConfigTest, NullMeansAbsent) {
  Json config = SmallConfig();
  for (const char* key : {"rope_scaling", "rope_theta", "head_dim", "quantization_config"}) {
    config[key] = nullptr;
  }
  EXPECT_EQ(ParseModelConfig(config, "config.json").layers[0].key_head_dim, 16);
}

TEST(ModelConfigTest, UnsupportedArchitecturesAreNamed) {
  EXPECT_THAT(ParsingWith({{"architectures", {"GPT2LMHeadModel"}}}),
              ThrowsMessage<Error>(StrEq("config.json: \"architectures\": found GPT2LMHeadModel, "
                                         "expected LlamaForCausalLM or Qwen2ForCausalLM")));
  EXPECT_THAT(ParsingWith({{"architectures", {"LlamaForCausalLM", "Other"}}}),
              ThrowsMessage<Error>(HasSubstr("found LlamaForCausalLM, Other, expected")));
  EXPECT_THAT(ParsingWith({{"architectures", Json::array()}}),
              ThrowsMessage<Error>(HasSubstr("\"architectures\": found none, expected")));
  EXPECT_THAT(ParsingWith({{"architectures", nullptr}}),
              ThrowsMessage<Error>(HasSubstr("\"architectures\": found nothing")));
}

TEST(ModelConfigTest, UnsupportedOptionsAreRefused) {
  EXPECT_THAT(ParsingWith({{"hidden_act", "gelu"}}),
              ThrowsMessage<Error>(HasSubstr("\"hidden_act\": found \"gelu\", expected \"silu\"")));
  EXPECT_THAT(ParsingWith({{"use_sliding_window", true}}),
              ThrowsMessage<Error>(HasSubstr("sliding-window layers are not supported yet")));
}

TEST(ModelConfigTest, SizesHaveToBePositiveAndToFitEachOther) {
  for (const char* key :
       {"num_hidden_layers", "hidden_size", "intermediate_size", "vocab_size",
        "num_attention_heads", "num_key_value_heads", "max_position_embeddings", "head_dim"}) {
    EXPECT_THAT(ParsingWith({{key, 0}}),
                ThrowsMessage<Error>(HasSubstr(std::string("\"") + key +
                                               "\": found 0, expected a positive integer")));
  }
  EXPECT_THAT(ParsingWith({{"num_hidden_layers", nullptr}}),
              ThrowsMessage<Error>(HasSubstr("\"num_hidden_layers\": found nothing")));
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

TEST(ModelConfigTest, UnsupportedRotaryTypesAreRefused) {
  EXPECT_THAT(
      ParsingWith({{"rope_scaling", {{"type", "linear"}, {"factor", 2.0}}}}),
      ThrowsMessage<Error>(HasSubstr("config.json: rope_scaling: \"type\": found \"linear\", "
                                     "expected \"default\" or \"llama3\"")));
  EXPECT_THAT(ParsingWith({{"rope_parameters", {{"rope_type", "yarn"}}}}),
              ThrowsMessage<Error>(HasSubstr("rope_parameters: \"rope_type\": found \"yarn\"")));
  EXPECT_THAT(
      ParsingWith({{"rope_theta", 0}}),
      ThrowsMessage<Error>(HasSubstr("\"rope_theta\": found 0, expected a positive number")));

  Json incomplete = Llama3Rope();
  incomplete.erase("low_freq_factor");
  EXPECT_THAT(ParsingWith({{"rope_scaling", incomplete}}),
              ThrowsMessage<Error>(HasSubstr("\"low_freq_factor\": found nothing")));
  Json swapped = Llama3Rope();
  swapped["low_freq_factor"] = 4.0;
  EXPECT_THAT(ParsingWith({{"rope_scaling", swapped}}),
              ThrowsMessage<Error>(HasSubstr(
                  "found factor 8, low_freq_factor 4, high_freq_factor 4, expected factor >= 1")));
  Json shrinking = Llama3Rope();
  shrinking["factor"] = 0.5;
  EXPECT_THAT(ParsingWith({{"rope_scaling", shrinking}}),
              ThrowsMessage<Error>(HasSubstr("found factor 0.5")));
}

struct Published {
  int64_t layers, query_heads, kv_heads, head_dim;
};

// The published configurations of the supported families, by directory.
const std::map<std::string, Published>& SupportedConfigs() {
  static const std::map<std::string, Published> configs = {
      {"llama2_13b", {40, 40, 40, 128}},
      {"llama2_7b", {32, 32, 32, 128}},
      {"llama3_1_70b", {80, 64, 8, 128}},
      {"llama3_1_8b", {32, 32, 8, 128}},
      {"llama3_2_1b", {16, 32, 8, 64}},
      {"llama3_2_3b", {28, 24, 8, 128}},
      {"meta-llama--Meta-Llama-3.1-405B", {126, 128, 8, 128}},
      {"meta-llama--Meta-Llama-3.1-70B", {80, 64, 8, 128}},
      {"meta-llama--Meta-Llama-3.1-8B", {32, 32, 8, 128}},
      {"nvidia--Llama-3.1-70B-Instruct-FP8", {80, 64, 8, 128}},
      {"qwen2.5_3b", {36, 16, 2, 128}},
      {"qwen2_0_5b", {24, 14, 2, 64}},
      {"qwen2_1_5b", {28, 12, 2, 128}},
      {"qwen2_7b", {28, 28, 4, 128}},
      {"smollm2_135m", {30, 9, 3, 64}},
      {"smollm2_360m", {32, 15, 5, 64}},
      {"smollm_135m", {30, 9, 3, 64}},
      {"smollm_360m", {32, 15, 5, 64}},
      {"tinyllama_1b_chat_v1.0", {22, 32, 4, 64}},
  };
  return configs;
}

TEST(ModelConfigTest, PartialRotationIsRefused) {
  EXPECT_THAT(ParsingWith({{"partial_rotary_factor", 0.5}}),
              ThrowsMessage<Error>(HasSubstr("\"partial_rotary_factor\": found 0.5, expected 1")));
  EXPECT_THAT(ParsingWith({{"rope_parameters", {{"partial_rotary_factor", 0.25}}}}),
              ThrowsMessage<Error>(HasSubstr("rope_parameters: \"partial_rotary_factor\": found 0.25")));
  EXPECT_EQ(ParseWith({{"partial_rotary_factor", 1.0}}).ropes[0].theta, 10000);
}

TEST(ModelConfigTest, PublishedConfigsAreReadRightOrRefusedByArchitecture) {
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
                  ThrowsMessage<Error>(
                      AllOf(HasSubstr(path.string() + ": \"architectures\": found " + architecture),
                            HasSubstr("expected LlamaForCausalLM or Qwen2ForCausalLM"))));
      continue;
    }
    ++supported_count;
    const ModelConfig model = ReadModelConfig(path);
    EXPECT_EQ(model.layer_count(), supported->second.layers);
    EXPECT_EQ(model.query_heads, supported->second.query_heads);
    EXPECT_EQ(model.layers[0].kv_heads, supported->second.kv_heads);
    EXPECT_EQ(model.layers[0].key_head_dim, supported->second.head_dim);
    EXPECT_EQ(model.query_key_value_bias, model.architecture == "Qwen2ForCausalLM");
    const bool scaled = entry.path().filename().string().find("lama3_") != std::string::npos ||
                        entry.path().filename().string().find("Llama-3.1") != std::string::npos;
    EXPECT_EQ(model.ropes[0].type, scaled ? RopeType::kLlama3 : RopeType::kDefault);
  }
  EXPECT_EQ(supported_count, SupportedConfigs().size());
}

}  // namespace
}  // namespace kvtune
