#include "lib/core/plan_latency.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <nlohmann/json.hpp>

#include "lib/base/error.h"
#include "tests/support/latency_data.h"

namespace kvtune {
namespace {

using ::testing::HasSubstr;

std::string LineOf(const std::function<void()>& call) {
  try {
    call();
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

// Of layers 0 and 2 with full attention and layer 1 with a window.
LatencyTable Windowed() {
  LatencyTable table = LatencyOf({{8, 1024}, {1, 1024}, {8, 32}}, 3);
  table.layers[1].window_tokens = 512;
  SettingLatency& setting = table.settings[0];
  setting.pairs = {
      {0, kKV4, {1, 0.5, 2}, 100}, {1, kKV4, {0.25, 0.25, 0.25}, 50}, {0, kKV8, {3, 3, 4}, 200}};
  return table;
}

TEST(PlanLatency, AttentionOfAPlanIsTheSumOverItsLayers) {
  const LatencyTable table = Windowed();
  const AttentionTimes times(table, table.settings[0]);
  EXPECT_EQ(times.Milliseconds(PrecisionPlan::Uniform(kKV4, 3)), 2.25);
  EXPECT_EQ(times.Milliseconds({{kKV4, kKV4, kKV8}}), 4.25);
  EXPECT_THAT(LineOf([&] {
                times.Milliseconds({{kKV4, kKV8, kKV4}});
              }),
              HasSubstr("found no time of KV8 in layers like layer 1 at 8 x 1024"));
  EXPECT_THAT(LineOf([&] {
                times.RequirePairs(std::vector{kKV4, kKV8});
              }),
              HasSubstr("found no time of KV8 in layers like layer 1 at 8 x 1024"));
  times.RequirePairs(std::vector{kKV4});
}

// Sums of 0.1, 0.2 and 0.3 differ in their last digit by the order of the terms.
TEST(PlanLatency, PlansOfTheSamePairsTakeTheSameTime) {
  LatencyTable table = LatencyOf({{1, 64}}, 3);
  table.settings[0].pairs = {
      {0, kKV2, {0.1, 0.1, 0.1}, 1}, {0, kKV4, {0.2, 0.2, 0.2}, 1}, {0, kKV8, {0.3, 0.3, 0.3}, 1}};
  const AttentionTimes times(table, table.settings[0]);
  ASSERT_NE(0.1 + 0.2 + 0.3, 0.3 + 0.2 + 0.1);
  EXPECT_EQ(times.Milliseconds({{kKV2, kKV4, kKV8}}), times.Milliseconds({{kKV8, kKV4, kKV2}}));
  EXPECT_EQ(times.Milliseconds({{kKV2, kKV4, kKV8}}), 0.6);
}

TEST(PlanLatency, ChoosesTheOneSettingThatIsAsWanted) {
  const LatencyTable table = Windowed();
  EXPECT_EQ(ChooseSetting(table, {.batch = 1, .context_tokens = {}}).setting,
            (DecodeSetting{1, 1024}));
  EXPECT_EQ(ChooseSetting(table, {.batch = {}, .context_tokens = 32}).setting,
            (DecodeSetting{8, 32}));
  EXPECT_THAT(LineOf([&] { ChooseSetting(table, {.batch = 1, .context_tokens = 32}); }),
              HasSubstr("found no time for the batch and context 1 x 32, expected one of those "
                        "that were measured (--latency-batch, --latency-context): 8 x 1024, "
                        "1 x 1024, 8 x 32"));
  EXPECT_THAT(LineOf([&] { ChooseSetting(table, {.batch = 8, .context_tokens = {}}); }),
              HasSubstr("found 2 settings for the batch and context 8 x any"));
  EXPECT_EQ(ChooseSetting(LatencyOf({{4, 64}}, 2), {}).setting, (DecodeSetting{4, 64}));
  EXPECT_THAT(LineOf([&] { ChooseSetting(LatencyOf({}, 2), {}); }), HasSubstr(": none"));
}

TEST(PlanLatency, TimesOfAnotherModelAreRefused) {
  ModelConfig model;
  model.query_heads = 8;
  model.layers.assign(2, {.kv_heads = 2, .key_head_dim = 64, .value_head_dim = 64});
  const auto line = [&](const auto& change) {
    LatencyTable table = LatencyOf({{1, 64}}, 2);
    table.query_heads = 8;
    change(table);
    return LineOf([&] { RequireLayersOf(model, table, "a/latency.json"); });
  };
  EXPECT_EQ(line([](LatencyTable&) {}), "no error");
  EXPECT_EQ(line([](LatencyTable& table) { table.query_heads.reset(); }), "no error");
  EXPECT_THAT(line([](LatencyTable& table) { table.layers.pop_back(); }),
              HasSubstr("in a/latency.json: found times of 1 layers, expected 2 as the model has"));
  EXPECT_THAT(line([](LatencyTable& table) { table.layers[1].key_head_dim = 128; }),
              HasSubstr("found layer 1 with 2 KV heads of 128 and 64 channels and full attention, "
                        "expected 2 KV heads of 64 and 64 channels and full attention"));
  EXPECT_THAT(line([](LatencyTable& table) { table.layers[0].window_tokens = 128; }),
              HasSubstr("a window of 128"));
  EXPECT_THAT(line([](LatencyTable& table) { table.query_heads = 16; }),
              HasSubstr("found 16 query heads, expected 8 as the model has"));
  model.query_heads = 0;  // a run of an earlier version
  EXPECT_EQ(line([](LatencyTable&) {}), "no error");
  model.query_heads = 1;
  EXPECT_THAT(line([](LatencyTable&) {}),
              HasSubstr("found 8 query heads, expected 1 as the model has"));
}

TEST(PlanLatency, TheSourceIsReadAsItWasWritten) {
  const LatencySource source{
      .device = "a device", .setting = {8, 1024}, .table = HashOfTable(Windowed())};
  const Json json = ToJson(source);
  EXPECT_EQ(json["context"], 1024);
  EXPECT_EQ(LatencySourceFromJson(JsonFields(json, "front.json")), source);
}

TEST(PlanLatency, TheHashIsOfTheContent) {
  const LatencyTable table = Windowed();
  const std::string hash = HashOfTable(LatencyTableFromJson(ToJson(table), "latency.json"));
  EXPECT_EQ(hash, HashOfTable(table));
  LatencyTable other = table;
  other.settings[0].pairs[0].attention.median = 1.0000001;
  EXPECT_NE(hash, HashOfTable(other));
}

}  // namespace
}  // namespace kvtune
