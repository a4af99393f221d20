#include "lib/calib/calibrate.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>

#include "lib/calib/model_evaluator.h"
#include "tests/calib/scaled_keys.h"
#include "tests/calib/tiny_runner.h"
#include "tests/support/test_data.h"

namespace kvtune {
namespace {

namespace fs = std::filesystem;

using ::testing::Each;
using ::testing::Gt;
using ::testing::Le;
using ::testing::SizeIs;

const std::vector<PrecisionPair> kPairs = {kKV8, kK8V4, kKV4, kKV2};

PromptSet SmallPromptSet() {
  PromptSet set;
  set.prompts = RandomPrompts(3);
  return set;
}

SensitivityTable CalibrateTiny(const TinyModel& model, const CalibrateOptions& options,
                               const TinyRunner::Edit& edit = nullptr) {
  TinyRunner tiny(model, ProbeArithmetic::kOfOptions, edit);
  return Calibrate(tiny.model(), SmallPromptSet(), kPairs, options);
}

TEST(Calibrate, TableHasEveryLayerPairAndHead) {
  const TinyModel model;
  const SensitivityTable table = CalibrateTiny(model, {});
  EXPECT_EQ(table.pairs, kPairs);
  ASSERT_THAT(table.layers, SizeIs(3));
  for (size_t layer = 0; layer < 3; ++layer) {
    const LayerSensitivity& sensitivity = table.layers[layer];
    EXPECT_EQ(sensitivity.index, layer);
    ASSERT_THAT(sensitivity.errors, SizeIs(kPairs.size()));
    // 16 channels share a scale and a zero of 32 bits in all.
    EXPECT_DOUBLE_EQ(sensitivity.errors[0].bits, 8 + 2);
    EXPECT_DOUBLE_EQ(sensitivity.errors[1].bits, 6 + 2);
    for (const PairErrors& errors : sensitivity.errors) {
      EXPECT_THAT(errors.head_e_k, SizeIs(2));
      EXPECT_THAT(errors.head_e_v, SizeIs(2));
      EXPECT_THAT(errors.head_e_o, SizeIs(2));
    }
    EXPECT_THAT(sensitivity.attention_concentration, SizeIs(4));
    EXPECT_THAT(sensitivity.attention_concentration, Each(Gt(0)));
    EXPECT_THAT(sensitivity.attention_concentration, Each(Le(1)));
    EXPECT_GE(sensitivity.key_outlier_ratio, 1);
  }
}

TEST(Calibrate, FewerBitsDisturbMore) {
  for (const MetricReduction reduction :
       {MetricReduction::kRatioOfSums, MetricReduction::kMeanOfRatios}) {
    for (const LayerSensitivity& layer : CalibrateTiny({}, {.reduction = reduction}).layers) {
      const PairErrors &kv8 = layer.errors[0], &k8v4 = layer.errors[1], &kv4 = layer.errors[2],
                       &kv2 = layer.errors[3];
      EXPECT_GT(kv8.e_k, 0);
      EXPECT_LT(kv8.e_k, kv4.e_k);
      EXPECT_LT(kv4.e_k, kv2.e_k);
      EXPECT_LT(kv8.e_v, kv4.e_v);
      EXPECT_LT(kv4.e_v, kv2.e_v);
      EXPECT_LT(kv8.e_a, kv4.e_a);
      EXPECT_LT(kv4.e_a, kv2.e_a);
      EXPECT_LT(kv8.e_o, k8v4.e_o);
      EXPECT_LT(k8v4.e_o, kv4.e_o);
      EXPECT_LT(kv4.e_o, kv2.e_o);
      // Each side's error is its own; attention weights know only keys.
      EXPECT_EQ(k8v4.e_k, kv8.e_k);
      EXPECT_EQ(k8v4.e_v, kv4.e_v);
      EXPECT_EQ(k8v4.e_a, kv8.e_a);
    }
  }
}

TEST(Calibrate, ALayersErrorLiesBetweenThoseOfItsHeads) {
  const auto expect_between = [](double all, const std::vector<double>& heads) {
    EXPECT_GE(all, *std::min_element(heads.begin(), heads.end()));
    EXPECT_LE(all, *std::max_element(heads.begin(), heads.end()));
  };
  for (const LayerSensitivity& layer : CalibrateTiny({}, {}).layers) {
    for (const PairErrors& errors : layer.errors) {
      expect_between(errors.e_k, errors.head_e_k);
      expect_between(errors.e_v, errors.head_e_v);
      expect_between(errors.e_o, errors.head_e_o);
    }
  }
}

TEST(Calibrate, AMeanOfRatiosIsTheMeanOverHeads) {
  // All heads have as many elements, so that their means count alike.
  const auto mean = [](const std::vector<double>& heads) {
    return std::accumulate(heads.begin(), heads.end(), 0.0) / static_cast<double>(heads.size());
  };
  for (const LayerSensitivity& layer :
       CalibrateTiny({}, {.reduction = MetricReduction::kMeanOfRatios}).layers) {
    for (const PairErrors& errors : layer.errors) {
      EXPECT_NEAR(errors.e_k, mean(errors.head_e_k), 1e-9 * errors.e_k);
      EXPECT_NEAR(errors.e_v, mean(errors.head_e_v), 1e-9 * errors.e_v);
      EXPECT_NEAR(errors.e_o, mean(errors.head_e_o), 1e-9 * errors.e_o);
    }
  }
}

TEST(Calibrate, TheTwoReductionsDiffer) {
  const SensitivityTable sums = CalibrateTiny({}, {});
  const SensitivityTable ratios = CalibrateTiny({}, {.reduction = MetricReduction::kMeanOfRatios});
  for (size_t layer = 0; layer < 3; ++layer) {
    for (size_t i = 0; i < kPairs.size(); ++i) {
      const PairErrors &a = sums.layers[layer].errors[i], &b = ratios.layers[layer].errors[i];
      // Elements near zero have large ratios.
      EXPECT_LT(a.e_k, b.e_k);
      EXPECT_LT(a.e_v, b.e_v);
      EXPECT_LT(a.e_o, b.e_o);
      EXPECT_EQ(a.e_a, b.e_a);
    }
  }
}

TEST(Calibrate, IsolatedKlOnlyWhenAskedFor) {
  for (const LayerSensitivity& layer : CalibrateTiny({}, {}).layers) {
    for (const PairErrors& errors : layer.errors) EXPECT_EQ(errors.kl, std::nullopt);
  }
}

TEST(Calibrate, IsolatedKlGrowsWithFewerBits) {
  for (const LayerSensitivity& layer :
       CalibrateTiny({}, {.screening = ScreeningError::kIsolatedKl}).layers) {
    EXPECT_GT(layer.errors[0].kl.value(), 0);
    EXPECT_LT(layer.errors[0].kl.value(), layer.errors[1].kl.value());
    EXPECT_LT(layer.errors[1].kl.value(), layer.errors[2].kl.value());
    EXPECT_LT(layer.errors[2].kl.value(), layer.errors[3].kl.value());
  }
}

TEST(Calibrate, IsolatedKlIsTheScoreOfAPlanOfOneLayer) {
  TinyRunner tiny({}, ProbeArithmetic::kFloat64);
  const PromptSet prompts = SmallPromptSet();
  const SensitivityTable table =
      Calibrate(tiny.model(), prompts, kPairs, {.screening = ScreeningError::kIsolatedKl});
  PrecisionPlan plan = PrecisionPlan::Uniform(kExactPair, 3);
  plan.layers[1] = kKV4;
  const PlanScore score =
      ModelEvaluator(tiny.model(), prompts.prompts).Evaluate(std::span(&plan, 1)).front();
  EXPECT_NEAR(table.layers[1].errors[2].kl.value(), score.kl_mean, 1e-6 * score.kl_mean);
}

TEST(Calibrate, KeyBiasNormIsZeroWithoutABias) {
  for (const LayerSensitivity& layer : CalibrateTiny({}, {}).layers)
    EXPECT_EQ(layer.key_bias_norm, 0);
  const TinyModel qwen = {.architecture = "Qwen2ForCausalLM"};
  for (const LayerSensitivity& layer : CalibrateTiny(qwen, {}).layers) {
    // 32 standard normal values: a norm of about 5.7.
    EXPECT_GT(layer.key_bias_norm, 3);
    EXPECT_LT(layer.key_bias_norm, 9);
  }
}

TEST(Calibrate, AScaledKeyPairIsSeenInItsLayerOnly) {
  const TinyModel model;
  const SensitivityTable before = CalibrateTiny(model, {});
  const SensitivityTable after = CalibrateTiny(model, {}, [&](const fs::path& directory) {
    ScaleKeyPair(model, {.layer = 1, .kv_head = 0, .rotary_pair = 3}, directory);
  });
  for (const size_t layer : {0, 2}) {
    EXPECT_NEAR(after.layers[layer].key_outlier_ratio, before.layers[layer].key_outlier_ratio,
                1e-3 * before.layers[layer].key_outlier_ratio);
  }
  const LayerSensitivity &was = before.layers[1], &is = after.layers[1];
  EXPECT_GT(is.key_outlier_ratio, 5 * was.key_outlier_ratio);
  for (size_t i = 0; i < kPairs.size(); ++i) {
    // The other channels lose resolution, and attention with them.
    EXPECT_GT(is.errors[i].e_a, was.errors[i].e_a) << PairLabel(kPairs[i]);
    EXPECT_GT(is.errors[i].head_e_o[0], was.errors[i].head_e_o[0]);
    EXPECT_NEAR(is.errors[i].head_e_k[1], was.errors[i].head_e_k[1],
                1e-3 * was.errors[i].head_e_k[1]);
    EXPECT_NEAR(is.errors[i].e_v, was.errors[i].e_v, 1e-3 * was.errors[i].e_v);
  }
}

}  // namespace
}  // namespace kvtune
