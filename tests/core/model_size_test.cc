#include "lib/core/model_size.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>

#include "lib/base/file.h"
#include "tests/support/temporary_directory.h"
#include "tests/support/tiny_checkpoint.h"

namespace kvtune {
namespace {

using ::testing::ElementsAre;

// Two layers: 3 query heads and 1 KV head of 5 channels.
ModelConfig SmallLlama() {
  ModelConfig config;
  config.layers.assign(2, {.kv_heads = 1, .key_head_dim = 5, .value_head_dim = 5});
  config.hidden_size = 10;
  config.intermediate_size = 7;
  config.query_heads = 3;
  config.vocab_size = 100;
  return config;
}

// Queries, keys, values and output 10 * 15 + 10 * 5 + 10 * 5 + 15 * 10; the MLP 3 * 10 * 7; norms
// 2 * 10.
constexpr int64_t kLlamaLayer = 400 + 210 + 20;

int64_t FirstLayer(const ModelConfig& config) { return SizeOf(config).layers.front(); }

TEST(ModelSize, CountsALlamaByHand) {
  const ModelSize size = SizeOf(SmallLlama());
  EXPECT_EQ(size.outside_layers, 100 * 10 + 100 * 10 + 10);
  EXPECT_THAT(size.layers, ElementsAre(kLlamaLayer, kLlamaLayer));
  EXPECT_EQ(size.parameters(), 2010 + 2 * kLlamaLayer);
}

TEST(ModelSize, ATiedHeadIsTheEmbedding) {
  ModelConfig config = SmallLlama();
  config.tied_embeddings = true;
  EXPECT_EQ(SizeOf(config).outside_layers, 100 * 10 + 10);
}

TEST(ModelSize, CountsBiases) {
  ModelConfig config = SmallLlama();
  config.query_key_value_bias = true;
  EXPECT_EQ(FirstLayer(config), kLlamaLayer + 15 + 5 + 5);
  config.output_bias = true;
  EXPECT_EQ(FirstLayer(config), kLlamaLayer + 25 + 10);
  config.mlp_bias = true;
  EXPECT_EQ(FirstLayer(config), kLlamaLayer + 35 + 7 + 7 + 10);
}

TEST(ModelSize, CountsNorms) {
  ModelConfig config = SmallLlama();
  config.norm_placement = NormPlacement::kAround;
  EXPECT_EQ(FirstLayer(config), kLlamaLayer + 20);
  config.norm_placement = NormPlacement::kAfter;
  config.query_key_norm = QueryKeyNorm::kPerHead;
  EXPECT_EQ(FirstLayer(config), kLlamaLayer + 5 + 5);
  config.query_key_norm = QueryKeyNorm::kWholeWidth;
  EXPECT_EQ(FirstLayer(config), kLlamaLayer + 15 + 5);
}

TEST(ModelSize, CountsNormsOfEveryKindAndPlace) {
  const auto layer = [](NormPlacement placement, NormKind kind) {
    ModelConfig config = SmallLlama();
    config.norm_placement = placement;
    config.norm_kind = kind;
    return FirstLayer(config);
  };
  constexpr int64_t kRest = kLlamaLayer - 20;
  EXPECT_EQ(layer(NormPlacement::kParallel, NormKind::kLayer), kRest + 10);
  EXPECT_EQ(layer(NormPlacement::kBefore, NormKind::kLayerBiased), kRest + 2 * 20);
  EXPECT_EQ(layer(NormPlacement::kAroundGlm, NormKind::kRms), kRest + 4 * 10);
  ModelConfig config = SmallLlama();
  config.norm_kind = NormKind::kLayerBiased;
  EXPECT_EQ(SizeOf(config).outside_layers, 100 * 10 + 100 * 10 + 20);
  config = SmallLlama();
  config.query_key_norm = QueryKeyNorm::kPerHeadRotated;
  EXPECT_EQ(FirstLayer(config), kLlamaLayer + 5 + 5);
}

TEST(ModelSize, CountsMlpsWithoutAGate) {
  ModelConfig config = SmallLlama();
  config.mlp = MlpLayout::kPlain;
  EXPECT_EQ(FirstLayer(config), kLlamaLayer - 70);
  config.mlp_bias = true;
  EXPECT_EQ(FirstLayer(config), kLlamaLayer - 70 + 7 + 10);
  config.mlp = MlpLayout::kFusedGated;
  EXPECT_EQ(FirstLayer(config), kLlamaLayer + 7 + 7 + 10);
}

TEST(ModelSize, CountsTheSharedExpertAndItsGate) {
  ModelConfig config = SmallLlama();
  config.layers[0].has_experts = true;
  config.experts = {.count = 4, .per_token = 2, .intermediate_size = 6};
  const int64_t without = FirstLayer(config);
  config.experts.shared_intermediate_size = 1;
  EXPECT_EQ(FirstLayer(config), without + 3 * 10 * 1 + 10);
  config.experts.shared_intermediate_size = 8;
  EXPECT_EQ(FirstLayer(config), without + 3 * 10 * 8 + 10);
}

TEST(ModelSize, CountsValuesOfAnotherWidthThanKeys) {
  ModelConfig config = SmallLlama();
  config.layers[0].value_head_dim = 2;
  // Values 10 * 2 in place of 10 * 5, the output 3 * 2 * 10 in place of 15 * 10.
  EXPECT_EQ(FirstLayer(config), kLlamaLayer - 30 - 90);
}

TEST(ModelSize, CountsExpertsAndTheirRouter) {
  ModelConfig config = SmallLlama();
  config.layers[1].has_experts = true;
  config.experts = {.count = 4, .per_token = 2, .intermediate_size = 6};
  // 4 experts of 3 * 10 * 6 and a row of 10 of the router each, in place of the MLP.
  EXPECT_THAT(SizeOf(config).layers,
              ElementsAre(kLlamaLayer, kLlamaLayer - 210 + 4 * 180 + 4 * 10));
  config.experts.layout = ExpertLayout::kGptOss;
  config.attention_sinks = true;
  // Biases of an expert, 6 + 6 + 10, and of the router; a sink a query head.
  EXPECT_EQ(SizeOf(config).layers[1], kLlamaLayer - 210 + 4 * (180 + 22) + 4 * 11 + 3);
}

// What a checkpoint of float32 holds, by the size of its data.
int64_t ParametersOnDisk(const std::filesystem::path& model) {
  const std::string content = ReadFile(model / "model.safetensors");
  uint64_t header = 0;
  std::memcpy(&header, content.data(), sizeof(header));
  return static_cast<int64_t>((content.size() - sizeof(header) - header) / sizeof(float));
}

TEST(ModelSize, IsWhatACheckpointHolds) {
  for (const char* architecture : {"LlamaForCausalLM", "MistralForCausalLM", "Qwen2ForCausalLM",
                                   "Gemma2ForCausalLM", "GptOssForCausalLM"}) {
    for (const bool tied : {false, true}) {
      const TemporaryDirectory folder;
      WriteTinyCheckpoint({.architecture = architecture, .tied = tied}, folder.path());
      EXPECT_EQ(SizeOf(ReadModelConfig(folder / "config.json")).parameters(),
                ParametersOnDisk(folder.path()))
          << architecture << (tied ? ", tied" : "");
    }
  }
}

TEST(ModelSize, StreamedAreTheTwoLargestNeighbours) {
  const ModelSize size{.outside_layers = 1000, .layers = {50, 10, 30, 35, 20}};
  EXPECT_EQ(size.parameters(), 1145);
  EXPECT_EQ(size.streamed_parameters(), 1065);
  EXPECT_EQ((ModelSize{.outside_layers = 1000, .layers = {50}}).streamed_parameters(), 1050);
}

TEST(ResidentLayerBytes, LeaveAThirdForActivations) {
  EXPECT_EQ(ResidentLayerBytes(300), 200);
  EXPECT_EQ(ResidentLayerBytes(0), 0);
}

WeightPlace PlaceWith(int64_t free_bytes, int64_t bytes_per_weight) {
  const ModelSize size{.outside_layers = 100, .layers = {50, 50, 50, 50}};
  return PlaceOfWeights(size, {.name = "cpu",
                               .free_bytes = free_bytes,
                               .data_type_name = "float32",
                               .bytes_per_weight = bytes_per_weight});
}

// Layers of 200 weights in all are resident where two thirds of what is free beside 150 hold them;
// two of them and what is outside are streamed.
TEST(PlaceOfWeights, ChangesAtItsBorders) {
  EXPECT_EQ(PlaceWith(150 + 300, 1), WeightPlace::kResident);
  EXPECT_EQ(PlaceWith(150 + 299, 1), WeightPlace::kStreamed);
  EXPECT_EQ(PlaceWith(200, 1), WeightPlace::kStreamed);
  EXPECT_EQ(PlaceWith(199, 1), WeightPlace::kNowhere);
  EXPECT_EQ(PlaceWith(0, 1), WeightPlace::kNowhere);
}

TEST(PlaceOfWeights, CountsBytesNotWeights) {
  EXPECT_EQ(PlaceWith(4 * 450, 4), WeightPlace::kResident);
  EXPECT_EQ(PlaceWith(4 * 450 - 1, 4), WeightPlace::kStreamed);
  EXPECT_EQ(PlaceWith(4 * 200, 4), WeightPlace::kStreamed);
  EXPECT_EQ(PlaceWith(4 * 200 - 1, 4), WeightPlace::kNowhere);
}

}  // namespace
}  // namespace kvtune
