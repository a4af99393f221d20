#include "lib/core/precision_plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "lib/base/error.h"
#include "lib/base/random.h"
#include "tests/support/test_data.h"

namespace kvtune {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

TEST(PrecisionPlan, LabelsJoinEqualBits) {
  EXPECT_EQ(PairLabel(kKV8), "KV8");
  EXPECT_EQ(PairLabel(kK8V4), "K8V4");
  EXPECT_EQ(PairLabel(kKiviKV4), "KV4");
  EXPECT_EQ(PairLabel(kExactPair), "exact");
  EXPECT_EQ(ParsePairLabel("KV4", std::vector{kKV8, kKiviKV4}), kKiviKV4);
  EXPECT_THAT(
      [] {
        ParsePairLabel("KV3", std::vector{kKV8, kKV4});
      },
      ThrowsMessage<Error>(
          HasSubstr("found \"KV3\" (did you mean \"KV8\"?), expected one of KV8, KV4, exact")));
}

// The pairs of several formats, and each format once.
TEST(PrecisionPlan, AMistypedPairIsToldThePairsAndTheFormats) {
  EXPECT_THAT(
      [] {
        ParsePlanSpec("KV3", 2, std::vector{kKV8, kK8V4, kKV4});
      },
      ThrowsMessage<Error>(HasSubstr("expected one of KV8, K8V4, KV4, exact, or format names "
                                     "(key/value) of int8, int4")));
}

TEST(PrecisionPlan, FormatsWithoutANumberAreLabelledByName) {
  using enum KvFormatId;
  EXPECT_EQ(PairLabel({kQ8_0, kQ4_0}), "q8_0/q4_0");
  EXPECT_EQ(PairLabel({kFp8E4m3, kFp8E4m3}), "fp8_e4m3");
  EXPECT_EQ(PairLabel({kExact, kQ4_0}), "exact/q4_0");
  EXPECT_EQ(PairLabel({kIkQ8_0, kIkQ4_0Had}), "q8_0/q4_0_had");
  EXPECT_EQ(PairLabel({kInt8, kFp8E4m3}), "int8/fp8_e4m3");
  EXPECT_EQ(PairLabel({kMlxInt8, kMlxInt3}), "K8V3");
  const std::vector<PrecisionPair> pairs = {{kIkQ8_0, kIkQ4_0}, {kIkQ4_0, kIkQ4_0}};
  const PrecisionPlan plan{{pairs[1], pairs[0], pairs[1], kExactPair}};
  EXPECT_EQ(PlanSpec(plan), "q4_0;1:q8_0/q4_0;3:exact");
  EXPECT_EQ(ParsePlanSpec(PlanSpec(plan), 4, pairs), plan);
  EXPECT_EQ(ParsePlanSpec("ik_q8_0/ik_q4_0", 1, pairs).layers[0], pairs[0]);
}

// As an engine's file names its pairs.
constexpr PrecisionPair kNamedPair{KvFormatId::kMxfp4, KvFormatId::kNvfp4};
constexpr PairName kTestNames[] = {{kNamedPair, "both_in_four"}};
const PairNames kNamesOfTheTest(kTestNames);

TEST(PrecisionPlan, PairsWithAWordOfTheEngine) {
  using enum KvFormatId;
  const PrecisionPlan plan{{kNamedPair, kExactPair, {kNvfp4, kMxfp4}}};
  EXPECT_EQ(PlanSpec(plan), "both_in_four;1:exact;2:nvfp4/mxfp4");
  EXPECT_EQ(ParsePlanSpec(PlanSpec(plan), 3, {}), plan);
  EXPECT_EQ(ParsePlanSpec("mxfp4/nvfp4", 1, {}).layers[0], kNamedPair);
}

TEST(PrecisionPlan, SpecIsTheCommonestPairAndOverrides) {
  EXPECT_EQ(PlanSpec({{kKV8, kKV4, kKV4, kK8V4, kK8V4, kKV4}}), "KV4;0:KV8;3-4:K8V4");
  EXPECT_EQ(PlanSpec({{kKV8, kKV4}}), "KV8;1:KV4");
  EXPECT_EQ(PlanSpec(PrecisionPlan::Uniform(kExactPair, 3)), "exact");
}

TEST(PrecisionPlan, SpecReadsBack) {
  for (uint64_t seed = 0; seed < 50; ++seed) {
    Random random(seed);
    PrecisionPlan plan;
    for (int layer = 0; layer < 9; ++layer) plan.layers.push_back(NinePairs()[random.Below(9)]);
    EXPECT_EQ(ParsePlanSpec(PlanSpec(plan), 9, NinePairs()), plan) << PlanSpec(plan);
  }
}

TEST(PrecisionPlan, LaterOverridesWinAndFormatsMayBeNamed) {
  EXPECT_THAT(ParsePlanSpec("KV4;0-2:KV8;1:int8/int2", 4, NinePairs()).layers,
              ElementsAre(kKV8, kK8V2, kKV8, kKV4));
  EXPECT_THAT(ParsePlanSpec("kivi_int4", 1, NinePairs()).layers, ElementsAre(kKiviKV4));
}

TEST(PrecisionPlan, MistakesNameTheOffendingPart) {
  const auto reading = [](const char* spec) {
    return [spec] { ParsePlanSpec(spec, 4, NinePairs()); };
  };
  EXPECT_THAT(reading("KV5"), ThrowsMessage<Error>(HasSubstr("found \"KV5\"")));
  EXPECT_THAT(reading(""), ThrowsMessage<Error>(HasSubstr("found \"\"")));
  EXPECT_THAT(reading("KV4;KV8"), ThrowsMessage<Error>(HasSubstr("expected LAYER:PAIR")));
  EXPECT_THAT(reading("KV4;4:KV8"),
              ThrowsMessage<Error>(HasSubstr("found the layer \"4\", expected 0 to 3")));
  EXPECT_THAT(reading("KV4;-1:KV8"), ThrowsMessage<Error>(HasSubstr("found the layer \"\"")));
  EXPECT_THAT(reading("KV4;2-1:KV8"), ThrowsMessage<Error>(HasSubstr("expected FIRST <= LAST")));
}

}  // namespace
}  // namespace kvtune
