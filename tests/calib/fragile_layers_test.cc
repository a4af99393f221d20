// The diagnosis on models whose fragile layers are known: random ones, in which key channels of
// chosen layers were made large without a change of what the model computes.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "lib/calib/calibrate.h"
#include "search/diagnose.h"
#include "tests/calib/scaled_keys.h"
#include "tests/calib/tiny_runner.h"
#include "tests/support/test_data.h"

namespace kvtune {
namespace {

using ::testing::ElementsAreArray;
using ::testing::IsEmpty;

TinyModel ModelOfSeed(uint64_t seed) {
  TinyModel model{.layers = 8, .head_dim = 32, .seed = seed};
  if (seed % 2 == 1) model.architecture = "Qwen2ForCausalLM";  // with key biases
  return model;
}

Diagnosis DiagnoseTiny(const TinyModel& model, const std::vector<PrecisionPair>& pairs,
                       const TinyRunner::Edit& edit = nullptr) {
  TinyRunner tiny(model, ProbeArithmetic::kOfOptions, edit);
  PromptSet prompts;
  prompts.prompts = RandomPrompts(2, model.seed);
  SensitivityTable table = Calibrate(tiny.model(), prompts, pairs, {});
  table.run = TestRun(model.layers);
  table.run.layers = LayerShapesOf(tiny.model().config());
  return Diagnose(table);
}

// Up to half of the layers, ascending.
std::set<int> ChooseLayers(Random& random, int layer_count) {
  std::set<int> chosen;
  const auto count = 1 + random.Below(static_cast<uint64_t>(layer_count) / 2);
  while (chosen.size() < count) {
    chosen.insert(static_cast<int>(random.Below(static_cast<uint64_t>(layer_count))));
  }
  return chosen;
}

std::vector<int> Named(const Diagnosis& diagnosis) {
  std::vector<int> layers;
  for (const FragileLayer& layer : diagnosis.fragile) {
    layers.push_back(static_cast<int>(layer.index));
  }
  return layers;
}

TEST(FragileLayers, ExactlyTheScaledLayersAreNamed) {
  for (uint64_t seed = 0; seed < 20; ++seed) {
    const TinyModel model = ModelOfSeed(seed);
    Random random(seed);
    const std::set<int> chosen = ChooseLayers(random, model.layers);
    const auto pairs = static_cast<uint64_t>(model.head_dim) / 2;
    const auto scale = [&](const std::filesystem::path& directory) {
      for (const int layer : chosen) {
        for (int head = 0; head < model.kv_heads; ++head) {
          const auto pair = static_cast<int>(random.Below(pairs));
          ScaleKeyPair(model, {.layer = layer, .kv_head = head, .rotary_pair = pair}, directory);
        }
      }
    };
    const Diagnosis diagnosis = DiagnoseTiny(model, NinePairs(), scale);
    EXPECT_THAT(Named(diagnosis), ElementsAreArray(chosen)) << "seed " << seed;
    for (const FragileLayer& layer : diagnosis.fragile) {
      EXPECT_THAT(layer.causes, ::testing::Contains(FragilityCause::kKeyError));
      EXPECT_THAT(layer.causes, ::testing::Contains(FragilityCause::kKeyOutliers));
    }
  }
}

TEST(FragileLayers, NoLayerIsNamedWithoutScaling) {
  for (uint64_t seed = 0; seed < 20; ++seed) {
    EXPECT_THAT(DiagnoseTiny(ModelOfSeed(seed), NinePairs()).fragile, IsEmpty()) << "seed " << seed;
  }
}

TEST(FragileLayers, ScalesPerChannelHoldLargeChannels) {
  const TinyModel model = ModelOfSeed(1);
  const auto scale = [&](const std::filesystem::path& directory) {
    ScaleKeyPair(model, {.layer = 4, .kv_head = 0, .rotary_pair = 3}, directory);
  };
  EXPECT_THAT(Named(DiagnoseTiny(model, {kKV8, kKV4}, scale)), ElementsAreArray({4}));
  const PrecisionPair kivi8{KvFormatId::kKiviInt8, KvFormatId::kKiviInt8};
  EXPECT_THAT(DiagnoseTiny(model, {kivi8, kKiviKV4}, scale).fragile, IsEmpty());
}

}  // namespace
}  // namespace kvtune
