#include "lib/targets/export_use.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "lib/targets/target.h"
#include "tests/support/test_data.h"

namespace kvtune {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

ExportUse Use(std::string_view target, std::string_view spec, std::string_view format,
              std::string content, std::string file = "") {
  Provenance run = TestRun(6);
  run.target = target;
  run.model = "models/my model";
  ScoredPlan plan;
  plan.name = "p00";
  plan.plan = ParsePlanSpec(spec, 6, FindTarget(target).shape.pairs);
  return UseOf(plan, run, format,
               {.content = std::move(content), .plan_file = std::move(file), .scales_file = {}});
}

std::string Needs(const ExportUse& use) {
  std::string text;
  for (const EngineNeed& need : use.needs) text += need.text + " " + need.source + "\n";
  return text;
}

TEST(ExportUse, TheCommandLineIsWhole) {
  const ExportUse use = Use("vllm", "int4_per_token_head;0:exact", "vllm",
                            "# a comment\n--kv-cache-dtype int4_per_token_head "
                            "--kv-cache-dtype-skip-layers 0\n");
  EXPECT_THAT(use.commands,
              ElementsAre("vllm serve 'models/my model' --kv-cache-dtype int4_per_token_head "
                          "--kv-cache-dtype-skip-layers 0"));
  EXPECT_THAT(Needs(use), HasSubstr("int4_per_token_head: vLLM 0.25.1 or later"));
  EXPECT_THAT(Needs(use), HasSubstr("--kv-cache-dtype-skip-layers"));
  EXPECT_EQ(use.scales, "");
}

TEST(ExportUse, NeedsAreThoseOfThePlan) {
  EXPECT_THAT(Use("vllm", "fp8_e4m3", "vllm", "--kv-cache-dtype fp8_e4m3\n").needs, IsEmpty());
  EXPECT_THAT(Needs(Use("vllm", "turboquant_4bit_nc;0-1:exact;4-5:exact", "vllm",
                        "--kv-cache-dtype turboquant_4bit_nc --kv-cache-dtype-skip-layers 0\n")),
              HasSubstr("turboquant_*: vLLM 0.20.0 or later"));
  // Its keys are FP8: the values alone need the release.
  EXPECT_THAT(Needs(Use("vllm", "turboquant_k8v4", "vllm", "--kv-cache-dtype turboquant_k8v4\n")),
              HasSubstr("turboquant_*: vLLM 0.20.0 or later"));
  EXPECT_THAT(Needs(Use("llama.cpp", "q8_0/q4_0", "llama.cpp", "-fa on -ctk q8_0 -ctv q4_0\n")),
              HasSubstr("GGML_CUDA_FA_ALL_QUANTS"));
  EXPECT_THAT(Needs(Use("llama.cpp", "q5_1", "llama.cpp", "-fa on -ctk q5_1 -ctv q5_1\n")),
              HasSubstr("GGML_CUDA_FA_ALL_QUANTS"));
  for (const char* fused : {"q8_0", "q4_0"}) {
    EXPECT_THAT(Needs(Use("llama.cpp", fused, "llama.cpp", "-fa on\n")),
                ::testing::Not(HasSubstr("GGML_CUDA_FA_ALL_QUANTS")))
        << fused;
  }
}

TEST(ExportUse, AFaultOfLastValuesIsNamed) {
  const std::string needs =
      Needs(Use("ik_llama.cpp", "q8_0", "ik_llama.cpp", "-ctv q4_0 -ctv-last q8_0,2 -vhad\n"));
  EXPECT_THAT(needs, HasSubstr("12 April 2026"));
  EXPECT_THAT(needs, HasSubstr("ik_llama.cpp/pull/1626"));
}

TEST(ExportUse, GgufFilesHaveTheNameOfTheModel) {
  EXPECT_THAT(Use("llama.cpp", "q8_0", "llama.cpp", "-fa on -ctk q8_0 -ctv q8_0\n").commands,
              ElementsAre("llama-server -m 'my model'.gguf -fa on -ctk q8_0 -ctv q8_0"));
}

TEST(ExportUse, SaysWhereScalesGo) {
  const std::string calibrated =
      PairLabel({KvFormatId::kFp8E4m3Calibrated, KvFormatId::kFp8E4m3Calibrated});
  const ExportUse use = Use("vllm", calibrated, "vllm", "--kv-cache-dtype fp8_e4m3\n");
  EXPECT_THAT(use.scales, HasSubstr("model.safetensors.index.json"));
}

// Property: every export format of every target has a usage, with no word left to replace.
TEST(ExportUse, EveryFormatHasOne) {
  for (const Target& target : Targets()) {
    for (const ExportSummary& format : target.exports) {
      const ExportUse use =
          Use(target.name, PairLabel(target.pairs.front()), format.name, "--content\n", "plan.x");
      ASSERT_FALSE(use.commands.empty());
      for (const std::string& command : use.commands) {
        EXPECT_EQ(command.find('{'), std::string::npos) << command;
      }
      for (const EngineNeed& need : use.needs) EXPECT_TRUE(need.source.starts_with("https://"));
    }
  }
}

}  // namespace
}  // namespace kvtune
