#include "lib/core/latency_table.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "lib/base/error.h"

namespace kvtune {
namespace {

using Id = KvFormatId;
using ::testing::HasSubstr;

constexpr PrecisionPair kFour{Id::kInt4, Id::kInt4}, kEight{Id::kInt8, Id::kInt8};

LatencyTable Sample() {
  const LayerShape full{4, 64, 64, 0}, sliding{4, 64, 64, 512};
  LatencyTable table{.device = "a device",
                     .model = "a model",
                     .copy_bytes_per_second = 4e12,
                     .layers = {full, sliding, full},
                     .settings = {}};
  SettingLatency setting{.setting = {8, 1024}, .pairs = {}, .steps = {}};
  setting.pairs = {{0, kFour, {1, 0.5, 2}, 100},
                   {1, kFour, {0.25, 0.25, 0.25}, 50},
                   {0, kEight, {3, 3, 4}, 200}};
  setting.steps = {{"KV4", PrecisionPlan::Uniform(kFour, 3), {5, 4, 6}, 2.25, 1000, 77}};
  table.settings.push_back(setting);
  return table;
}

std::string MessageOf(const std::function<void()>& call) {
  try {
    call();
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

TEST(LatencyTable, TimingIsTheMedianWithItsRange) {
  EXPECT_EQ(TimingOf({3, 1, 2}), (Timing{2, 1, 3}));
  EXPECT_EQ(TimingOf({5, 1, 4, 2, 3}), (Timing{3, 1, 5}));
  EXPECT_EQ(TimingOf({4}), (Timing{4, 4, 4}));
}

TEST(LatencyTable, IsReadAsItWasWritten) {
  const Json json = ToJson(Sample());
  EXPECT_EQ(json["settings"][0]["steps"][0]["tokens_per_second"], 1600);
  EXPECT_EQ(ToJson(LatencyTableFromJson(json, "latency.json")), json);
  EXPECT_FALSE(json.contains("query_heads"));  // as in files of earlier versions
  EXPECT_FALSE(json["settings"][0]["steps"][0].contains("counted_bytes"));
  LatencyTable table = Sample();
  table.query_heads = 32;
  table.settings[0].steps[0].counted_bytes = 900;
  const LatencyTable read = LatencyTableFromJson(ToJson(table), "latency.json");
  EXPECT_EQ(read.query_heads, 32);
  EXPECT_EQ(read.settings[0].steps[0].counted_bytes, 900);
  table.query_heads = 1;
  EXPECT_EQ(LatencyTableFromJson(ToJson(table), "latency.json").query_heads, 1);
}

TEST(LatencyTable, NumbersOfNothingAreReadAndThoseBelowAreNot) {
  Json nothing = ToJson(Sample());
  const std::vector<std::string> places = {"/copy_bytes_per_second",
                                           "/settings/0/pairs/0/bytes",
                                           "/settings/0/pairs/0/attention_ms/median",
                                           "/settings/0/pairs/0/attention_ms/lowest",
                                           "/settings/0/pairs/0/attention_ms/highest",
                                           "/settings/0/steps/0/step_ms/median",
                                           "/settings/0/steps/0/step_ms/lowest",
                                           "/settings/0/steps/0/step_ms/highest",
                                           "/settings/0/steps/0/attention_ms",
                                           "/settings/0/steps/0/cache_bytes",
                                           "/settings/0/steps/0/largest_batch",
                                           "/settings/0/steps/0/counted_bytes"};
  for (const std::string& place : places) nothing[Json::json_pointer(place)] = 0;
  nothing["settings"][0]["steps"][0]["tokens_per_second"] = 0;  // of a step that takes no time
  EXPECT_EQ(ToJson(LatencyTableFromJson(nothing, "latency.json")), nothing);
  for (const std::string& place : places) {
    Json less = nothing;
    less[Json::json_pointer(place)] = -1;
    EXPECT_THAT(MessageOf([&] { LatencyTableFromJson(less, "latency.json"); }),
                HasSubstr("found -1"))
        << place;
  }
}

TEST(LatencyTable, RefusesWhatNoTableHas) {
  const auto with = [](const auto& change) {
    Json json = ToJson(Sample());
    change(json["settings"][0]);
    return MessageOf([&] { LatencyTableFromJson(json, "latency.json"); });
  };
  EXPECT_THAT(with([](Json& setting) { setting["batch"] = 0; }),
              HasSubstr("found 0, expected an integer from 1"));
  EXPECT_THAT(with([](Json& setting) { setting["context"] = 0; }),
              HasSubstr("found 0, expected an integer from 1"));
  EXPECT_EQ(with([](Json& setting) { setting["batch"] = setting["context"] = 1; }), "no error");
  EXPECT_THAT(with([](Json& setting) { setting["pairs"][0]["layer"] = 3; }),
              HasSubstr("found 3, expected one of the layers 0 to 2"));
  EXPECT_THAT(with([](Json& setting) { setting["pairs"][0]["attention_ms"]["median"] = -1; }),
              HasSubstr("median"));
  EXPECT_THAT(with([](Json& setting) { setting["pairs"][0]["attention_ms"]["median"] = 1e6; }),
              HasSubstr("found 1000000, expected a number from lowest to highest"));
  EXPECT_THAT(with([](Json& setting) { setting["pairs"][0]["attention_ms"]["median"] = 0; }),
              HasSubstr("found 0, expected a number from lowest to highest"));
  EXPECT_THAT(with([](Json& setting) { setting["steps"][0]["layers"].erase(0); }),
              HasSubstr("found 2, expected 3, as the model has"));
  EXPECT_THAT(with([](Json& setting) { setting["pairs"].push_back(setting["pairs"][0]); }),
              HasSubstr("of layer 0 twice, expected it once"));
  EXPECT_THAT(with([](Json& setting) { setting["surprise"] = 1; }), HasSubstr("surprise"));
}

}  // namespace
}  // namespace kvtune
