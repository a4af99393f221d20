#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "lib/base/error.h"
#include "lib/base/hash.h"
#include "lib/targets/target.h"

namespace kvtune {
namespace {

using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

ModelConfig ModelOf(int64_t head_dim, size_t layers = 3) {
  ModelConfig config;
  config.layers.assign(layers,
                       {.kv_heads = 2, .key_head_dim = head_dim, .value_head_dim = head_dim});
  return config;
}

std::string TurboquantPairs(const Target& target) {
  std::string labels;
  for (const PrecisionPair pair : target.pairs) {
    if (PairLabel(pair).starts_with("turboquant_")) labels += PairLabel(pair) + " ";
  }
  return labels;
}

// Why a target of this pair alone does not fit.
std::string Refusal(const char* pair, const ModelConfig& model) {
  Target target = FindTarget("vllm");
  target.pairs = {ParsePairLabel(pair, target.pairs)};
  try {
    TargetFor(target, model);
    return "fits";
  } catch (const Error& error) {
    return error.what();
  }
}

TEST(TargetFit, TurboquantNeedsFullAttentionAndHeadsOfAPowerOfTwo) {
  EXPECT_EQ(Refusal("turboquant_4bit_nc", ModelOf(128)), "fits");
  EXPECT_THAT(Refusal("turboquant_4bit_nc", ModelOf(96)),
              HasSubstr("layer 0: found a head_dim of 96, expected a power of two for tq_k4"));
  EXPECT_THAT(Refusal("turboquant_3bit_nc", ModelOf(4)),
              HasSubstr("layer 0: found a head_dim of 4, expected a multiple of 8 for tq_v3"));
  ModelConfig model = ModelOf(128);
  model.layers[1].window_tokens = 1024;
  EXPECT_THAT(
      Refusal("turboquant_k8v4", model),
      HasSubstr(
          "layer 1: found a sliding window of 1024 tokens, expected none for turboquant_k8v4"));
  model = ModelOf(128);
  model.layers[2].value_head_dim = 64;
  EXPECT_THAT(
      Refusal("turboquant_k3v4_nc", model),
      HasSubstr("layer 2: found keys of 128 channels and values of 64, expected as many for"));
  // The first and the last two stay exact: nothing is left.
  EXPECT_THAT(Refusal("turboquant_4bit_nc", ModelOf(128, 4)),
              HasSubstr("4 layers all stay exact beside turboquant_4bit_nc"));
  EXPECT_EQ(Refusal("turboquant_4bit_nc", ModelOf(128, 5)), "fits");
  EXPECT_EQ(Refusal("fp8_e4m3", ModelOf(128, 4)), "fits");
}

// A run keeps its layers' shapes, so an export needs no model.
TEST(TargetFit, LayersOfARunAreThoseOfItsModel) {
  ModelConfig model = ModelOf(96);
  model.layers[1].window_tokens = 1024;
  Provenance run;
  run.context = 4096;
  run.layers = LayerShapesOf(model);
  const Json json = ToJson(run);
  const std::vector<LayerShape> layers = ProvenanceFromJson(JsonFields(json, "run")).layers;
  for (const Target& target : Targets()) {
    const auto fitted = [&](const auto& of) -> std::string {
      try {
        std::string labels;
        for (const PrecisionPair pair : TargetFor(target, of).pairs) labels += PairLabel(pair);
        return labels;
      } catch (const Error& error) {
        return error.what();
      }
    };
    EXPECT_EQ(fitted(layers), fitted(model)) << target.name;
  }
}

TEST(TargetFit, KiviRowsMayEndInAShorterGroup) {
  EXPECT_EQ(TargetFor(FindTarget("kvtuner-kivi"), ModelOf(80)).pairs,
            FindTarget("kvtuner-kivi").pairs);
}

TEST(TargetFit, HeadsOf128FitEveryTarget) {
  for (const Target& target : Targets()) {
    EXPECT_EQ(TargetFor(target, ModelOf(128)).pairs, target.pairs) << target.name;
  }
}

TEST(TargetFit, BlocksHaveToFitTheHeads) {
  // 80 channels: five blocks of 16, not a multiple of 32, no power of two.
  EXPECT_THAT([] { TargetFor(FindTarget("llama.cpp"), ModelOf(80)); },
              ThrowsMessage<Error>(HasSubstr(
                  "the target llama.cpp cannot store this model's cache: layer 0: found a "
                  "head_dim of 80, expected a multiple of 32 for q8_0")));
  const Target vllm = TargetFor(FindTarget("vllm"), ModelOf(80));
  for (const PrecisionPair pair : vllm.pairs) EXPECT_NE(pair.key, KvFormatId::kInt4PerTokenHead);
  EXPECT_EQ(TurboquantPairs(vllm), "turboquant_k8v4 ");  // the others rotate keys
  EXPECT_EQ(vllm.pairs.size() + 4, FindTarget("vllm").pairs.size());
  EXPECT_EQ(TargetFor(FindTarget("kvtuner"), ModelOf(80)).pairs, FindTarget("kvtuner").pairs);
}

TEST(TargetFit, WindowsThatAnEngineKeepsExactAreRefused) {
  ModelConfig model = ModelOf(128);
  model.layers[1].window_tokens = 1024;
  EXPECT_THAT([&] { TargetFor(FindTarget("exllamav3"), model); },
              ThrowsMessage<Error>(HasSubstr(
                  "the target exllamav3 cannot store this model's cache: layer 1: found a "
                  "sliding window, which exllamav3 does not quantize")));
}

TEST(TargetFit, PaddingCostsWhereLayersSlideAndPagesAreOfOneSize) {
  ModelConfig model = ModelOf(128, 2);
  const Target& vllm = FindTarget("vllm");
  const PrecisionPlan plan = ParsePlanSpec("fp8_e4m3;1:exact", 2, vllm.shape.pairs);
  EXPECT_EQ(PaddedBytesPerToken(vllm, plan, model, 4096), std::nullopt);
  model.layers[0].window_tokens = 1024;
  // Both layers' pages as large as those of 16 bits; a quarter of the context in one.
  EXPECT_DOUBLE_EQ(PaddedBytesPerToken(vllm, plan, model, 4096).value(), 2 * 256 * 2 * 1.25);
  EXPECT_EQ(PaddedBytesPerToken(FindTarget("llama.cpp"), plan, model, 4096), std::nullopt);
}

// Which pairs are searched for heads of any size, with and without a window in the second layer.
TEST(TargetFit, PairsOfEveryHeadArePinned) {
  ContentHash hash;
  for (const Target& target : Targets()) {
    for (const int64_t head_dim : {2, 4, 8, 16, 20, 32, 40, 64, 80, 96, 120, 128, 192, 256, 512}) {
      for (const int64_t window : {0, 1, 1024}) {
        for (const size_t layers : {2u, 5u}) {
          ModelConfig model = ModelOf(head_dim, layers);
          model.layers[1].window_tokens = window;
          try {
            const Target fitted = TargetFor(target, model);
            for (const PrecisionPair pair : fitted.pairs) hash.UpdateField(PairLabel(pair));
            hash.UpdateField(DescribeShape(fitted.shape));
          } catch (const Error& error) {
            hash.UpdateField(error.what());
          }
        }
      }
    }
  }
  EXPECT_EQ(hash.Digest(), "xxh3:44831383968b700b652d243f3b665754");
}

}  // namespace
}  // namespace kvtune
