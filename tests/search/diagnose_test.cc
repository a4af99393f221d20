#include "search/diagnose.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "tests/support/test_data.h"

namespace kvtune {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

// The keys of one layer: e_o and the key error under int2, int4 and int8.
struct LayerKeys {
  std::vector<double> output_error;
  std::vector<double> key_error;
  double outlier_ratio = 2;
  double bias_norm = 20;
};

const LayerKeys kOrdinary{{0.5, 0.06, 0.006}, {0.6, 0.1, 0.006}};

SensitivityTable TableOfKeys(const std::vector<LayerKeys>& layers) {
  std::vector<std::vector<double>> e_o;
  for (const LayerKeys& layer : layers) e_o.push_back(layer.output_error);
  SensitivityTable table = TableOf({kK2V8, kK4V8, kKV8}, e_o);
  for (size_t i = 0; i < layers.size(); ++i) {
    LayerSensitivity& layer = table.layers[i];
    layer.key_outlier_ratio = layers[i].outlier_ratio;
    layer.key_bias_norm = layers[i].bias_norm;
    for (size_t pair = 0; pair < 3; ++pair) {
      layer.errors[pair].head_e_k_median = {0, layers[i].key_error[pair]};
    }
  }
  return table;
}

std::vector<size_t> Named(const Diagnosis& diagnosis) {
  std::vector<size_t> layers;
  for (const FragileLayer& layer : diagnosis.fragile) layers.push_back(layer.index);
  return layers;
}

TEST(Diagnose, NamesLayerNeedAndCauses) {
  std::vector<LayerKeys> layers(5, kOrdinary);
  layers[0] = {{0.9, 0.5, 0.03}, {1, 0.9, 0.05}, 30, 600};
  layers[3] = {{0.9, 0.4, 0.07}, {1, 0.9, 0.2}, 2, 21};
  const Diagnosis diagnosis = Diagnose(TableOfKeys(layers));
  EXPECT_EQ(diagnosis.safe_key, KvFormatId::kInt4);
  EXPECT_TRUE(diagnosis.is_safe);
  EXPECT_EQ(diagnosis.ordinary_output_error, 0.06);
  EXPECT_EQ(diagnosis.ordinary_median.key_error, 0.1);
  EXPECT_EQ(diagnosis.ordinary_median.key_bias_norm, 20);
  ASSERT_THAT(Named(diagnosis), ElementsAre(0, 3));
  EXPECT_EQ(diagnosis.fragile[0].needed_key, KvFormatId::kInt8);
  EXPECT_EQ(diagnosis.fragile[0].measured.output_error, 0.5);
  EXPECT_THAT(diagnosis.fragile[0].causes,
              ElementsAre(FragilityCause::kKeyError, FragilityCause::kOutputError,
                          FragilityCause::kKeyOutliers, FragilityCause::kKeyBias));
  // 0.07 under int8 is still more than the 0.06 that ordinary layers lose under int4.
  EXPECT_EQ(diagnosis.fragile[1].needed_key, KvFormatId::kExact);
  EXPECT_THAT(diagnosis.fragile[1].causes,
              ElementsAre(FragilityCause::kKeyError, FragilityCause::kOutputError));
}

TEST(Diagnose, LayersThatAreAlikeAreNotNamed) {
  std::vector<LayerKeys> layers(8, kOrdinary);
  for (size_t i = 0; i < layers.size(); ++i) {
    const double factor = 1 + 0.1 * static_cast<double>(i);  // at most 1.7
    for (double& error : layers[i].output_error) error *= factor;
    for (double& error : layers[i].key_error) error *= factor;
  }
  EXPECT_THAT(Diagnose(TableOfKeys(layers)).fragile, IsEmpty());
}

TEST(Diagnose, WidelySpreadLayersHaveNoOutliers) {
  std::vector<LayerKeys> layers;
  for (const double factor : {0.25, 0.5, 1.0, 2.0, 3.5}) {
    layers.push_back({{0.5, 0.05 * factor, 0.01}, {0.6, 0.1 * factor, 0.006}});
  }
  EXPECT_THAT(Diagnose(TableOfKeys(layers)).fragile, IsEmpty());
}

TEST(Diagnose, LargeChannelsThatCostNothingAreNotNamed) {
  std::vector<LayerKeys> layers(5, kOrdinary);
  layers[2].outlier_ratio = 100;
  layers[2].bias_norm = 1000;
  EXPECT_THAT(Diagnose(TableOfKeys(layers)).fragile, IsEmpty());
  // Nor is an error of keys that attention does not read.
  layers[2].key_error = {1, 0.9, 0.05};
  EXPECT_THAT(Diagnose(TableOfKeys(layers)).fragile, IsEmpty());
}

TEST(Diagnose, AnOutputErrorAloneIsEnough) {
  std::vector<LayerKeys> layers(5, kOrdinary);
  layers[2].output_error = {0.9, 0.3, 0.02};
  const Diagnosis diagnosis = Diagnose(TableOfKeys(layers));
  ASSERT_THAT(Named(diagnosis), ElementsAre(2));
  EXPECT_THAT(diagnosis.fragile[0].causes, ElementsAre(FragilityCause::kOutputError));
}

TEST(Diagnose, HalfOfTheLayersCanBeNamed) {
  std::vector<LayerKeys> layers(6, kOrdinary);
  for (const size_t i : {1, 2, 5}) layers[i] = {{0.9, 0.5, 0.03}, {1, 0.9, 0.05}};
  EXPECT_THAT(Named(Diagnose(TableOfKeys(layers))), ElementsAre(1, 2, 5));
}

TEST(Diagnose, TheSafeFormatIsTheCheapestThatTheTypicalLayerBears) {
  const std::vector<LayerKeys> coarse(3, {{0.2, 0.06, 0.006}, {0.6, 0.1, 0.006}});
  EXPECT_EQ(Diagnose(TableOfKeys(coarse)).safe_key, KvFormatId::kInt2);
  const std::vector<LayerKeys> hopeless(3, {{0.9, 0.8, 0.7}, {0.6, 0.1, 0.006}});
  const Diagnosis diagnosis = Diagnose(TableOfKeys(hopeless));
  EXPECT_EQ(diagnosis.safe_key, KvFormatId::kInt8);
  EXPECT_FALSE(diagnosis.is_safe);
  EXPECT_EQ(Diagnose(TableOf({kKV4}, {{0.5}, {0.5}})).safe_key, KvFormatId::kInt4);  // the only one
}

TEST(Diagnose, WhatIsBorneIsSoUpToTheBoundItself) {
  // The typical layer bears 0.25, and the bound that a fragile layer has to keep is what the worst
  // ordinary one loses.
  std::vector<LayerKeys> layers(5, {{0.25, 0.06, 0.006}, {0.6, 0.1, 0.006}});
  layers[1] = {{0.9, 0.25, 0.03}, {1, 0.9, 0.05}};
  const Diagnosis diagnosis = Diagnose(TableOfKeys(layers));
  EXPECT_EQ(diagnosis.safe_key, KvFormatId::kInt2);
  EXPECT_TRUE(diagnosis.is_safe);
  ASSERT_THAT(Named(diagnosis), ElementsAre(1));
  EXPECT_EQ(diagnosis.fragile[0].needed_key, KvFormatId::kInt4);
}

TEST(Diagnose, MeasuresKeysWithTheBestValues) {
  SensitivityTable table = TableOf({kKV4, kK4V8}, {{0.3, 0.1}});
  table.layers[0].errors[0].e_v = 0.1;
  table.layers[0].errors[1].e_v = 0.01;
  EXPECT_EQ(Diagnose(table).ordinary_output_error, 0.1);
}

TEST(Diagnose, ExactKeysNeedNoDiagnosis) {
  const Diagnosis diagnosis = Diagnose(TableOf({kExactPair}, {{0}, {0}}));
  EXPECT_EQ(diagnosis.safe_key, std::nullopt);
  EXPECT_THAT(diagnosis.fragile, IsEmpty());
}

TEST(Diagnose, AnyTableGivesFiniteNumbersAndAscendingLayers) {
  for (uint64_t seed = 0; seed < 100; ++seed) {
    Random random(seed);
    const SensitivityTable table = RandomTable(random, 1 + seed % 12);
    const Diagnosis diagnosis = Diagnose(table);
    const std::vector<size_t> named = Named(diagnosis);
    EXPECT_TRUE(std::is_sorted(named.begin(), named.end()));
    EXPECT_NO_THROW(ToJson(diagnosis));
    for (const FragileLayer& layer : diagnosis.fragile) {
      EXPECT_GT(layer.measured.output_error, diagnosis.ordinary_output_error);
      EXPECT_FALSE(layer.causes.empty());
    }
  }
}

TEST(Diagnose, JsonHasWhatTheStructHas) {
  std::vector<LayerKeys> layers(3, kOrdinary);
  layers[1] = {{0.9, 0.5, 0.03}, {1, 0.9, 0.05}, 30, 600};
  Json json = ToJson(Diagnose(TableOfKeys(layers)));
  EXPECT_EQ(json["schema_version"], 1);
  EXPECT_EQ(json["run"]["layer_count"], 3);
  json.erase("run");
  json.erase("schema_version");
  EXPECT_EQ(json.dump(),
            R"({"safe_key":"int4","is_safe":true,)"
            R"("ordinary":{"worst_output_error":0.06,"output_error":0.06,"key_error":0.1,)"
            R"("key_outlier_ratio":2.0,"key_bias_norm":20.0},)"
            R"("fragile":[{"index":1,"needed_key":"int8","output_error":0.5,"key_error":0.9,)"
            R"("key_outlier_ratio":30.0,"key_bias_norm":600.0,)"
            R"("causes":["key error","attention output error","key outlier channels",)"
            R"("key bias"]}]})");
}

}  // namespace
}  // namespace kvtune
