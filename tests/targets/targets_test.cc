#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "lib/base/error.h"
#include "lib/targets/target.h"

namespace kvtune {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::vector<std::string> Labels(const Target& target) {
  std::vector<std::string> labels;
  for (const PrecisionPair pair : target.pairs) labels.push_back(PairLabel(pair));
  return labels;
}

TEST(TargetsTest, ListsKvtunerFirst) {
  ASSERT_GE(Targets().size(), 2u);
  EXPECT_EQ(Targets()[0].name, "kvtuner");
  EXPECT_EQ(Targets()[1].name, "kvtuner-kivi");
}

TEST(TargetsTest, EveryTargetDescribesItself) {
  for (const Target& target : Targets()) {
    EXPECT_FALSE(target.description.empty()) << target.name;
    EXPECT_FALSE(DescribeShape(target.shape).empty()) << target.name;
    EXPECT_FALSE(target.exports.empty()) << target.name;
    EXPECT_FALSE(target.pairs.empty()) << target.name;
  }
}

TEST(TargetsTest, ThePairsThatAreSearchedAreOfTheShape) {
  for (const Target& target : Targets()) {
    for (const PrecisionPair pair : target.pairs) {
      EXPECT_TRUE(target.shape.has(pair)) << target.name << ", " << PairLabel(pair);
    }
  }
}

TEST(TargetsTest, KvtunerHasAllNinePairs) {
  for (const char* name : {"kvtuner", "kvtuner-kivi"}) {
    EXPECT_THAT(Labels(FindTarget(name)),
                ElementsAre("KV8", "K8V4", "K8V2", "K4V8", "KV4", "K4V2", "K2V8", "K2V4", "KV2"));
  }
}

TEST(TargetsTest, ModesUseTheirOwnFormats) {
  EXPECT_THAT(FormatsOf(FindTarget("kvtuner"), KvSide::kKey),
              ElementsAre(KvFormatId::kInt8, KvFormatId::kInt4, KvFormatId::kInt2));
  EXPECT_THAT(FormatsOf(FindTarget("kvtuner-kivi"), KvSide::kValue),
              ElementsAre(KvFormatId::kKiviInt8, KvFormatId::kKiviInt4, KvFormatId::kKiviInt2));
}

// Whoever reads a file with these labels need not know the engine.
TEST(TargetsTest, VllmNamesItsPairs) {
  using enum KvFormatId;
  const PrecisionPlan plan{{{kTurboquantKey4, kTurboquantValue4},
                            kExactPair,
                            {kFp8E4m3, kTurboquantValue4},
                            {kTurboquantKey3, kTurboquantValue4},
                            {kTurboquantKey3, kTurboquantValue3},
                            {kTurboquantKey4, kTurboquantValue3}}};
  EXPECT_EQ(PlanSpec(plan),
            "turboquant_4bit_nc;1:exact;2:turboquant_k8v4;3:turboquant_k3v4_nc;"
            "4:turboquant_3bit_nc;5:tq_k4/tq_v3");
  EXPECT_EQ(ParsePlanSpec(PlanSpec(plan), 6, {}), plan);
  EXPECT_EQ(ParsePlanSpec("tq_k4/tq_v4", 1, {}).layers[0], plan.layers[0]);
}

TEST(TargetsTest, UnknownTargetIsAUsageError) {
  try {
    FindTarget("kvtunr");
    FAIL() << "expected an error";
  } catch (const Error& error) {
    EXPECT_EQ(error.exit_code(), ExitCode::kUsage);
    EXPECT_THAT(error.what(), HasSubstr("kvtuner-kivi"));
  }
}

TEST(TargetsTest, FormatsOfAnotherTargetAreRefused) {
  const Target& target = FindTarget("kvtuner");
  const PrecisionPlan plan = ParsePlanSpec("KV4;1:kivi_int4", 2, target.pairs);
  try {
    RequireFormatsOf(target, plan, "the plan");
    FAIL() << "expected an error";
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("layer 1: found kivi_int4 keys"));
  }
}

TEST(TargetsTest, ExactLayersCanBeScored) {
  const Target& target = FindTarget("kvtuner");
  RequireFormatsOf(target, ParsePlanSpec("KV4;1:exact", 2, target.pairs), "the plan");
}

}  // namespace
}  // namespace kvtune
