#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "lib/base/error.h"
#include "lib/targets/engine.h"
#include "tests/support/fake_evaluator.h"

namespace kvtune {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::UnorderedElementsAreArray;

std::vector<std::string> Labels(const Target& target) {
  std::vector<std::string> labels;
  for (const PrecisionPair pair : target.pairs) labels.push_back(PairLabel(pair));
  return labels;
}

KvFormatId ForeignFormat(const Target& target) {
  return target.name.starts_with("kvtuner") ? KvFormatId::kQ4_0 : KvFormatId::kInt2;
}

TEST(Targets, ListsKvtunerFirst) {
  ASSERT_GE(Targets().size(), 2u);
  EXPECT_EQ(Targets()[0].name, "kvtuner");
  EXPECT_EQ(Targets()[1].name, "kvtuner-kivi");
}

// What a reader looks for in the one line of `kvtune targets`, and the formats that the search
// tries.
struct ExpectedTarget {
  std::string_view name;
  std::string_view engine;  // as its description calls it
  std::vector<std::string_view> keys, values;
};

const std::vector<ExpectedTarget>& ExpectedTargets() {
  using Names = std::vector<std::string_view>;
  static const Names int_formats = {"int8", "int4", "int2"},
                     kivi = {"kivi_int8", "kivi_int4", "kivi_int2"},
                     fp8_nvfp4 = {"fp8_e4m3_calibrated", "nvfp4_calibrated"},
                     sglang = {"fp8_e4m3", "fp8_e5m2", "fp4_e2m1"},
                     lmdeploy = {"lmdeploy_int8", "fp8_e4m3", "fp8_e5m2", "lmdeploy_int4"},
                     llama = {"q8_0", "q5_1", "q5_0", "q4_1", "q4_0", "iq4_nl"},
                     ik = {"ik_q8_0_had", "ik_q6_0_had", "ik_q5_1_had",  "ik_q5_0_had",
                           "ik_q4_1_had", "ik_q4_0_had", "ik_iq4_nl_had"},
                     mlx = {"mlx_int8", "mlx_int6", "mlx_int5", "mlx_int4", "mlx_int3", "mlx_int2"},
                     hqq = {"hqq_int8", "hqq_int4", "hqq_int2"},
                     quanto = {"quanto_int4", "quanto_int2"},
                     exllama = {"exl3_int8", "exl3_int7", "exl3_int6", "exl3_int5",
                                "exl3_int4", "exl3_int3", "exl3_int2"},
                     vllm = {"fp8_e4m3",
                             "fp8_e4m3_calibrated",
                             "fp8_e5m2",
                             "fp8_per_token_head",
                             "int8_per_token_head",
                             "int4_per_token_head",
                             "nvfp4",
                             "nvfp4_calibrated"};
  static const std::vector<ExpectedTarget> expected = [] {
    Names vllm_keys = vllm, vllm_values = vllm;
    vllm_keys.insert(vllm_keys.end(), {"tq_k4", "tq_k3"});
    vllm_values.insert(vllm_values.end(), {"tq_v4", "tq_v3"});
    return std::vector<ExpectedTarget>{{"kvtuner", "KVTuner", int_formats, int_formats},
                                       {"kvtuner-kivi", "KIVI", kivi, kivi},
                                       {"vllm", "vLLM", vllm_keys, vllm_values},
                                       {"modelopt", "ModelOpt", fp8_nvfp4, fp8_nvfp4},
                                       {"tensorrt-llm", "TensorRT-LLM", fp8_nvfp4, fp8_nvfp4},
                                       {"sglang", "SGLang", sglang, sglang},
                                       {"sglang-per-layer", "SGLang", sglang, sglang},
                                       {"lmdeploy", "LMDeploy", lmdeploy, lmdeploy},
                                       {"llama.cpp", "llama.cpp", llama, llama},
                                       {"ik_llama.cpp", "ik_llama.cpp", ik, ik},
                                       {"mlx-optiq", "MLX", mlx, mlx},
                                       {"hf", "HQQ", hqq, hqq},
                                       {"hf-quanto", "quanto", quanto, quanto},
                                       {"exllamav3", "exllamav3", exllama, exllama}};
  }();
  return expected;
}

std::set<std::string_view> FormatNamesOf(const Target& target, KvSide side) {
  std::set<std::string_view> names;
  for (const PrecisionPair pair : target.pairs) {
    const KvFormat& format = FormatOf(side == KvSide::kKey ? pair.key : pair.value);
    if (!format.is_exact()) names.insert(format.name);
  }
  return names;
}

TEST(Targets, EveryTargetDescribesItself) {
  ASSERT_EQ(Targets().size(), ExpectedTargets().size());
  std::set<std::string_view> descriptions;
  for (size_t i = 0; i < Targets().size(); ++i) {
    const Target& target = Targets()[i];
    const ExpectedTarget& expected = ExpectedTargets()[i];
    SCOPED_TRACE(target.name);
    EXPECT_EQ(target.name, expected.name);
    EXPECT_THAT(std::string(target.description), HasSubstr(std::string(expected.engine)));
    EXPECT_EQ(target.description.find('\n'), std::string_view::npos);
    EXPECT_TRUE(descriptions.insert(target.description).second)
        << "two targets are described alike";
    EXPECT_THAT(FormatNamesOf(target, KvSide::kKey), UnorderedElementsAreArray(expected.keys));
    EXPECT_THAT(FormatNamesOf(target, KvSide::kValue), UnorderedElementsAreArray(expected.values));
    for (const std::string_view name : expected.keys) {
      ASSERT_TRUE(FindFormat(name)) << name;
      EXPECT_EQ(FormatOf(*FindFormat(name)).name, name);
    }
    EXPECT_EQ(DescribeShape(target.shape).find("exact") != std::string::npos,
              target.shape.kind == ShapeKind::kOnePairAndExact ||
                  (target.shape.kind == ShapeKind::kAnyPair && target.shape.has(kExactPair)));
    std::set<std::string_view> exports;
    for (const ExportSummary& summary : target.exports) {
      EXPECT_FALSE(summary.description.empty()) << summary.name;
      EXPECT_TRUE(exports.insert(summary.name).second) << summary.name << " comes twice";
      EXPECT_FALSE(
          FindMisfit(PrecisionPlan::Uniform(target.pairs.front(), 4), target, summary.name))
          << summary.name << " cannot express a uniform plan";
    }
    EXPECT_THAT(exports, Contains("json"));  // kvtune's own, beside at least one of the engine
    EXPECT_GE(exports.size(), 2u);
  }
}

TEST(Targets, ThePairsThatAreSearchedAreOfTheShape) {
  for (const Target& target : Targets()) {
    for (const PrecisionPair pair : target.pairs) {
      EXPECT_TRUE(target.shape.has(pair)) << target.name << ", " << PairLabel(pair);
    }
  }
}

TEST(Targets, KvtunerHasAllNinePairs) {
  for (const char* name : {"kvtuner", "kvtuner-kivi"}) {
    EXPECT_THAT(Labels(FindTarget(name)),
                ElementsAre("KV8", "K8V4", "K8V2", "K4V8", "KV4", "K4V2", "K2V8", "K2V4", "KV2"));
  }
}

TEST(Targets, ModesUseTheirOwnFormats) {
  EXPECT_THAT(FormatsOf(FindTarget("kvtuner"), KvSide::kKey),
              ElementsAre(KvFormatId::kInt8, KvFormatId::kInt4, KvFormatId::kInt2));
  EXPECT_THAT(FormatsOf(FindTarget("kvtuner-kivi"), KvSide::kValue),
              ElementsAre(KvFormatId::kKiviInt8, KvFormatId::kKiviInt4, KvFormatId::kKiviInt2));
}

// Whoever reads a file with these labels need not know the engine.
TEST(Targets, VllmNamesItsPairs) {
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

TEST(Targets, UnknownTargetIsAUsageError) {
  try {
    FindTarget("kvtunr");
    FAIL() << "expected an error";
  } catch (const Error& error) {
    EXPECT_EQ(error.exit_code(), ExitCode::kUsage);
    EXPECT_THAT(error.what(), HasSubstr("kvtuner-kivi"));
  }
}

TEST(Targets, FormatsOfAnotherTargetAreRefused) {
  const Target& target = FindTarget("kvtuner");
  const PrecisionPlan plan = ParsePlanSpec("KV4;1:kivi_int4", 2, target.pairs);
  try {
    RequireFormatsOf(target, plan, "the plan");
    FAIL() << "expected an error";
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("layer 1: found kivi_int4 keys"));
  }
}

// Also where the engine itself has no exact layers beside quantized ones: such a plan can be
// scored, though not exported.
TEST(Targets, ExactLayersCanBeScored) {
  for (const Target& target : Targets()) {
    SCOPED_TRACE(target.name);
    const PrecisionPair coarsest = target.pairs.back();
    const PrecisionPlan exact = PrecisionPlan::Uniform(kExactPair, 3),
                        coarse = PrecisionPlan::Uniform(coarsest, 3);
    PrecisionPlan mixed = coarse;
    mixed.layers[1] = kExactPair;
    EXPECT_NO_THROW(RequireFormatsOf(target, exact, "the plan"));
    EXPECT_NO_THROW(RequireFormatsOf(target, mixed, "the plan"));
    FakeEvaluator evaluator({1, 1, 1});
    EXPECT_EQ(evaluator.ScoreOf(exact).kl_mean, 0);
    EXPECT_GT(evaluator.ScoreOf(mixed).kl_mean, 0);
    EXPECT_LT(evaluator.ScoreOf(mixed).kl_mean, evaluator.ScoreOf(coarse).kl_mean);
    // A format of another target, beside the exact layer, is still found.
    mixed.layers[2] = {KvFormatId::kExact, ForeignFormat(target)};
    EXPECT_THROW(RequireFormatsOf(target, mixed, "the plan"), Error);
  }
}

}  // namespace
}  // namespace kvtune
