#include "lib/core/sensitivity.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <nlohmann/json.hpp>

#include "lib/base/error.h"
#include "lib/base/random.h"
#include "tests/support/test_data.h"

namespace kvtune {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;
using ::testing::StrEq;
using ::testing::ThrowsMessage;

Json RandomJson(uint64_t seed) {
  Random random(seed);
  return ToJson(RandomTable(random, 3));
}

SensitivityTable ReadSensitivity(const Json& json) {
  return SensitivityTableFromJson(json, "sensitivity.json");
}

TEST(Sensitivity, LayersMayHaveHeadsOfTheirOwn) {
  Random random(1);
  SensitivityTable table = RandomTable(random, 3);
  table.run.layers[1].kv_heads = 1;
  LayerSensitivity& layer = table.layers[1];
  layer.maxima = {.key = {1.0f}, .value = {2.0f}};
  for (PairErrors& errors : layer.errors)
    errors.head_e_k = errors.head_e_k_median = errors.head_e_v = errors.head_e_o = {0.5};
  EXPECT_EQ(ToJson(ReadSensitivity(ToJson(table))), ToJson(table));
  table.run.layers[1].kv_heads = 2;
  EXPECT_THAT([&] { ReadSensitivity(ToJson(table)); },
              ThrowsMessage<Error>(HasSubstr("found 1 numbers, expected 2, one per KV head")));
}

TEST(Sensitivity, RoundTripIsBitForBit) {
  for (uint64_t seed = 0; seed < 20; ++seed) {
    Random random(seed);
    const SensitivityTable table = RandomTable(random, 3);
    const std::string text = DumpJson(ToJson(table));
    const SensitivityTable read = ReadSensitivity(ParseJson(text, "text"));
    EXPECT_EQ(DumpJson(ToJson(read)), text);
    ASSERT_EQ(read.pairs, table.pairs);
    ASSERT_EQ(read.layers.size(), table.layers.size());
    for (size_t layer = 0; layer < table.layers.size(); ++layer) {
      EXPECT_EQ(read.layers[layer].key_outlier_ratio, table.layers[layer].key_outlier_ratio);
      EXPECT_EQ(read.layers[layer].maxima, table.layers[layer].maxima);
      EXPECT_EQ(read.layers[layer].attention_concentration,
                table.layers[layer].attention_concentration);
      for (size_t i = 0; i < table.pairs.size(); ++i) {
        const PairErrors& before = table.layers[layer].errors[i];
        const PairErrors& after = read.layers[layer].errors[i];
        EXPECT_EQ(after.e_k, before.e_k);
        EXPECT_EQ(after.e_v, before.e_v);
        EXPECT_EQ(after.e_a, before.e_a);
        EXPECT_EQ(after.e_o, before.e_o);
        EXPECT_EQ(after.bits, before.bits);
        EXPECT_EQ(after.kl, before.kl);
        EXPECT_EQ(after.head_e_k_median, before.head_e_k_median);
        EXPECT_EQ(after.head_e_o, before.head_e_o);
      }
    }
  }
}

TEST(Sensitivity, FieldsAreTheOnesThatScriptsRead) {
  const Json json = ToJson(TableOf({kKV8, kK8V4}, {{.1, .2}}));
  EXPECT_EQ(json["schema_version"], 1);
  EXPECT_EQ(json["run"]["target"], "kvtuner");
  EXPECT_EQ(json["pairs"], Json({"KV8", "K8V4"}));
  EXPECT_EQ(json["layers"][0]["index"], 0);
  EXPECT_EQ(json["layers"][0]["errors"]["K8V4"].dump(),
            R"({"e_k":0.0,"e_v":0.0,"e_a":0.0,"e_o":0.2,"bits":6.0})");
}

TEST(Sensitivity, IsolatedKlIsOptional) {
  SensitivityTable table = TableOf({kKV8, kKV4}, {{.1, .2}});
  table.layers[0].errors[1].kl = 0.5;
  const SensitivityTable read = ReadSensitivity(ToJson(table));
  EXPECT_EQ(read.layers[0].errors[0].kl, std::nullopt);
  EXPECT_EQ(read.layers[0].errors[1].kl, 0.5);
}

TEST(Sensitivity, TablesOfEarlierVersionsHaveNoMedianErrors) {
  Json json = RandomJson(1);
  for (Json& layer : json["layers"]) {
    for (Json& heads : layer["per_head"]) heads.erase("e_k_median");
  }
  const SensitivityTable read = ReadSensitivity(json);
  EXPECT_THAT(read.layers[0].errors[0].head_e_k_median, IsEmpty());
  EXPECT_THAT(read.layers[0].errors[0].head_e_k, SizeIs(2));
}

TEST(Sensitivity, MistakesNameFieldAndLayer) {
  const auto reading = [](auto edit) {
    Json json = RandomJson(1);
    edit(json);
    return [json] { ReadSensitivity(json); };
  };
  EXPECT_THAT(
      reading([](Json& json) { json["layers"][1]["errors"].erase("KV4"); }),
      ThrowsMessage<Error>(StrEq("sensitivity.json: layers[1]: errors: \"KV4\": found nothing, "
                                 "expected an object")));
  EXPECT_THAT(reading([](Json& json) { json["layers"][1]["errors"]["KV16"] = Json::object(); }),
              ThrowsMessage<Error>(HasSubstr("layers[1]: errors: found the unknown key \"KV16\"")));
  EXPECT_THAT(
      reading([](Json& json) { json["layers"][2]["errors"]["KV4"]["e_o"] = "much"; }),
      ThrowsMessage<Error>(HasSubstr("layers[2]: errors: KV4: \"e_o\": found \"much\", expected a "
                                     "number")));
  EXPECT_THAT(reading([](Json& json) { json["layers"][2]["errors"]["KV4"]["e_o"] = nullptr; }),
              ThrowsMessage<Error>(HasSubstr("found null, expected a number")));
  EXPECT_THAT(
      reading([](Json& json) {
        json["layers"][0]["errors"]["KV8"]["e_o"] = std::numeric_limits<double>::infinity();
      }),
      ThrowsMessage<Error>(HasSubstr("layers[0]: errors: KV8: e_o: found inf, expected a finite")));
  EXPECT_THAT(reading([](Json& json) { json["layers"][1]["index"] = 0; }),
              ThrowsMessage<Error>(HasSubstr("layers[1]: \"index\": found 0, expected 1")));
  EXPECT_THAT(reading([](Json& json) { json["layers"].erase(2); }),
              ThrowsMessage<Error>(HasSubstr("\"layers\": found 2 layers, expected 3")));
  EXPECT_THAT(
      reading([](Json& json) { json["layers"][0]["per_head"]["KV8"]["e_k"].push_back(1.0); }),
      ThrowsMessage<Error>(HasSubstr("found 3 numbers, expected 2, one per KV head")));
  EXPECT_THAT(reading([](Json& json) { json["note"] = "mine"; }),
              ThrowsMessage<Error>(HasSubstr("found the unknown key \"note\"")));
}

TEST(Sensitivity, NumbersThatNoLayerHasAreRefused) {
  const Json whole = RandomJson(4);
  const auto with = [&](const std::string& place, double value) {
    Json json = whole;
    json.at(Json::json_pointer(place)) = value;
    return [json] { return ReadSensitivity(json); };
  };
  // A scale would be made of the maxima, and plans would be dropped by the errors.
  for (const std::string place :
       {"errors/KV8/e_k", "errors/KV8/e_v", "errors/KV8/e_a", "errors/KV8/e_o", "errors/KV8/bits",
        "per_head/KV8/e_k/0", "per_head/KV8/e_k_median/1", "per_head/KV8/e_v/0",
        "per_head/KV8/e_o/0", "key_outlier_ratio", "key_bias_norm", "key_max/0", "value_max/1",
        "attention_concentration/0"}) {
    const std::string pointer = "/layers/1/" + place;
    for (const double impossible : {-1e-9, 1e300}) {
      EXPECT_THAT(with(pointer, impossible), ThrowsMessage<Error>(HasSubstr("layers[1]: ")))
          << pointer << " " << impossible;
      EXPECT_THAT(with(pointer, impossible),
                  ThrowsMessage<Error>(
                      HasSubstr(": found " + std::string(impossible < 0 ? "-1e-09" : "1e+300"))))
          << pointer;
    }
    EXPECT_NO_THROW(with(pointer, 0)()) << pointer;
  }
}

TEST(Sensitivity, TableThatIsNotANumberIsNotWritten) {
  SensitivityTable table = TableOf({kKV8}, {{std::numeric_limits<double>::quiet_NaN()}});
  EXPECT_THAT(
      [&] { ToJson(table); },
      ThrowsMessage<Error>(HasSubstr("writing the sensitivity table: layers[0]: errors: KV8: e_o: "
                                     "found nan")));
}

TEST(Sensitivity, LayerWithoutAllPairsIsNotWritten) {
  SensitivityTable table = TableOf({kKV8, kKV4}, {{.1, .2}});
  table.layers[0].errors.pop_back();
  EXPECT_THAT([&] { ToJson(table); },
              ThrowsMessage<Error>(HasSubstr("layer 0: found 1 pairs, expected 2")));
}

}  // namespace
}  // namespace kvtune
