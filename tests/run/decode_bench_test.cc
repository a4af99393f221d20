#include "lib/run/decode_bench.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "lib/base/error.h"
#include "lib/targets/target.h"

namespace kvtune {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

// A device on which attention takes a millisecond for each bit of the pair.
class FakeTimer : public DecodeTimer {
 public:
  std::string device_name() const override { return "fake"; }
  double CopyBandwidth() override { return 1e9; }
  int64_t CacheMemory() override { return 10'000; }
  std::string WhyNot(size_t, PrecisionPair pair) const override {
    return FormatOf(pair.key).numerics == Numerics::kKvtunerAsymmetric || pair.is_exact()
               ? ""
               : "found a format that the fake does not know";
  }
  TimedAttention TimeAttention(size_t layer, PrecisionPair pair,
                               const DecodeSetting& setting) override {
    timed.push_back(std::to_string(layer) + " " + PairLabel(pair));
    const double bits = FormatOf(pair.key).bits + FormatOf(pair.value).bits;
    return {{bits, bits, bits}, setting.batch * setting.context_tokens};
  }
  TimedStep TimeStep(const PrecisionPlan& plan, const DecodeSetting& setting) override {
    return {{100, 99, 101}, CacheBytes(plan, setting)};
  }
  int64_t CacheBytes(const PrecisionPlan& plan, const DecodeSetting& setting) const override {
    int64_t bits = 0;
    for (const PrecisionPair pair : plan.layers)
      bits += FormatOf(pair.key).bits + FormatOf(pair.value).bits;
    return bits * setting.batch;
  }

  std::vector<std::string> timed;
};

ModelConfig TwoKinds() {
  ModelConfig config;
  LayerConfig full{.kv_heads = 2, .key_head_dim = 64, .value_head_dim = 64};
  LayerConfig sliding = full;
  sliding.window_tokens = 128;
  config.layers = {full, sliding, full};
  config.query_heads = 4;
  return config;
}

TEST(DecodeBench, TimesEveryPairOnceInEveryKindOfLayer) {
  FakeTimer timer;
  const PrecisionPair four{KvFormatId::kInt4, KvFormatId::kInt4};
  const DecodeBench bench{.plans = {{"bf16", PrecisionPlan::Uniform(kExactPair, 3)},
                                    {"KV4", PrecisionPlan::Uniform(four, 3)}},
                          .pairs = {four},
                          .settings = {{2, 512}}};
  const LatencyTable table = MeasureDecoding(
      bench, TwoKinds(), "m", timer, [](std::string_view) {}, [](std::string_view) {});
  EXPECT_THAT(timer.timed, ElementsAre("0 exact", "0 KV4", "1 exact", "1 KV4"));
  ASSERT_EQ(table.settings.size(), 1u);
  const SettingLatency& setting = table.settings[0];
  ASSERT_EQ(setting.steps.size(), 2u);
  EXPECT_DOUBLE_EQ(setting.steps[0].attention, 3 * 32);
  EXPECT_DOUBLE_EQ(setting.steps[1].attention, 3 * 8);
  EXPECT_EQ(setting.steps[1].largest_batch, 10'000 / (3 * 8));
}

TEST(DecodeBench, LeavesOutWhatDoesNotFitAndSaysSo) {
  FakeTimer timer;
  const DecodeBench bench{.plans = {{"bf16", PrecisionPlan::Uniform(kExactPair, 3)}},
                          .pairs = {},
                          .settings = {{1000, 512}}};
  std::string said;
  const LatencyTable table = MeasureDecoding(
      bench, TwoKinds(), "m", timer, [](std::string_view) {},
      [&](std::string_view line) { said += line; });
  EXPECT_TRUE(table.settings[0].steps.empty());
  EXPECT_THAT(said, HasSubstr("batch 1000, context 512: bf16 is left out"));
}

TEST(DecodeBench, ACacheThatFillsTheMemoryFitsAndIsCountedWithTheStepsToken) {
  FakeTimer timer;
  // 40 bytes a sequence: 250 of them fill the memory of 10,000.
  const PrecisionPair eight{KvFormatId::kInt8, KvFormatId::kInt8};
  const PrecisionPair four{KvFormatId::kInt4, KvFormatId::kInt4};
  DecodeBench bench{.plans = {{"mixed", {{eight, eight, four}}}},
                    .pairs = {},
                    .settings = {{250, 512}, {251, 512}}};
  bench.counted_bytes = [](const PrecisionPlan&, int64_t tokens) {
    return 1.5 * static_cast<double>(tokens);
  };
  const auto measure = [&] {
    return MeasureDecoding(
        bench, TwoKinds(), "m", timer, [](std::string_view) {}, [](std::string_view) {});
  };
  const LatencyTable table = measure();
  ASSERT_EQ(table.settings.at(0).steps.size(), 1u);
  EXPECT_EQ(table.settings[0].steps[0].cache_bytes, 10'000);
  EXPECT_EQ(table.settings[0].steps[0].largest_batch, 250);
  EXPECT_EQ(table.settings[0].steps[0].counted_bytes, 192'375);  // 250 x 513 tokens x 1.5
  EXPECT_TRUE(table.settings.at(1).steps.empty());
  bench.whole_steps = false;
  EXPECT_TRUE(measure().settings.at(0).steps.empty());
}

TEST(DecodeBench, RefusesAPlanThatCannotBePacked) {
  FakeTimer timer;
  const PrecisionPair other{KvFormatId::kQ8_0, KvFormatId::kQ8_0};
  const DecodeBench bench{.plans = {}, .pairs = {other}, .settings = {{1, 512}}};
  try {
    MeasureDecoding(
        bench, TwoKinds(), "m", timer, [](std::string_view) {}, [](std::string_view) {});
    FAIL() << "no error";
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("packing the cache of layer 0 as q8_0: found a format"));
  }
}

TEST(DecodeBench, ComparesWithWhatCanBePacked) {
  const FakeTimer timer;
  std::vector<std::string> names;
  for (const NamedPlan& plan : ReferencePlans(TwoKinds(), timer, FindTarget("kvtuner").pairs))
    names.push_back(plan.name);
  EXPECT_THAT(names, ElementsAre("bf16", "KV8", "KV4"));  // the fake knows no FP8
}

}  // namespace
}  // namespace kvtune
