#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "lib/base/error.h"
#include "lib/targets/target.h"

namespace kvtune {
namespace {

using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

ModelConfig ModelOf(int64_t head_dim) {
  ModelConfig config;
  config.layers.assign(2, {.kv_heads = 2, .key_head_dim = head_dim, .value_head_dim = head_dim});
  return config;
}

TEST(FitTest, HeadsOf128FitEveryTarget) {
  for (const Target& target : Targets()) {
    EXPECT_EQ(TargetFor(target, ModelOf(128)).pairs, target.pairs) << target.name;
  }
}

TEST(FitTest, BlocksHaveToFitTheHeads) {
  // 80 channels: five blocks of 16, not a multiple of 32, no power of two.
  EXPECT_THAT([] { TargetFor(FindTarget("llama.cpp"), ModelOf(80)); },
              ThrowsMessage<Error>(HasSubstr("the target llama.cpp cannot store this model's cache: layer 0: found a "
                                             "head_dim of 80, expected a multiple of 32 for q8_0")));
  const Target vllm = TargetFor(FindTarget("vllm"), ModelOf(80));
  for (const PrecisionPair pair : vllm.pairs) EXPECT_NE(pair.key, KvFormatId::kInt4PerTokenHead);
  EXPECT_EQ(vllm.pairs.size() + 1, FindTarget("vllm").pairs.size());
  EXPECT_EQ(TargetFor(FindTarget("kvtuner"), ModelOf(80)).pairs, FindTarget("kvtuner").pairs);
}

TEST(FitTest, WindowsThatAnEngineKeepsExactAreRefused) {
  ModelConfig model = ModelOf(128);
  model.layers[1].window_tokens = 1024;
  EXPECT_THAT([&] { TargetFor(FindTarget("exllamav3"), model); },
              ThrowsMessage<Error>(HasSubstr("the target exllamav3 cannot store this model's cache: layer 1: found a "
                                             "sliding window, which exllamav3 does not quantize")));
}

TEST(FitTest, PaddingCostsWhereLayersSlideAndPagesAreOfOneSize) {
  ModelConfig model = ModelOf(128);
  const Target& vllm = FindTarget("vllm");
  const PrecisionPlan plan = ParsePlanSpec("fp8_e4m3;1:exact", 2, vllm.shape.pairs);
  EXPECT_EQ(PaddedBytesPerToken(vllm, plan, model, 4096), std::nullopt);
  model.layers[0].window_tokens = 1024;
  // Both layers' pages as large as those of 16 bits; a quarter of the context in one.
  EXPECT_DOUBLE_EQ(PaddedBytesPerToken(vllm, plan, model, 4096).value(), 2 * 256 * 2 * 1.25);
  EXPECT_EQ(PaddedBytesPerToken(FindTarget("llama.cpp"), plan, model, 4096), std::nullopt);
}

}  // namespace
}  // namespace kvtune
