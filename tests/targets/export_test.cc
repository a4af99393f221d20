#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "lib/base/error.h"
#include "lib/targets/plan_json.h"
#include "lib/targets/target.h"

namespace kvtune {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

ParetoFront FrontOf(std::string target) {
  ParetoFront front;
  front.run.target = std::move(target);
  front.run.layers.resize(3);
  return front;
}

ScoredPlan PlanOf(std::string_view spec, std::string_view target) {
  ScoredPlan plan;
  plan.name = "p07";
  plan.plan = ParsePlanSpec(spec, 3, FindTarget(target).pairs);
  return plan;
}

std::string Export(std::string_view spec, const std::string& target, std::string_view format) {
  return ExportPlan(PlanOf(spec, target), FrontOf(target), format);
}

PrecisionPlan Import(std::string_view content, std::string_view target) {
  return ImportPlan(content, "plan file", 3, FindTarget(target));
}

std::string ImportError(std::string_view content) {
  try {
    Import(content, "kvtuner");
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

TEST(Export, KvtunerYamlHoldsOneEntryALayer) {
  const std::string yaml = Export("KV4;0:K8V4", "kvtuner", "kvtuner");
  EXPECT_THAT(yaml, HasSubstr("\n"
                              "0:\n  nbits_key: 8\n  nbits_value: 4\n"
                              "1:\n  nbits_key: 4\n  nbits_value: 4\n"
                              "2:\n  nbits_key: 4\n  nbits_value: 4\n"));
  EXPECT_THAT(yaml, StartsWith("# Plan p07: KV4;0:K8V4\n"
                               "# For KVTuner's per_layer_config_path with axis_key=0, "
                               "axis_value=0, q_group_size=-1, residual_length=0, asym=True\n"));
}

TEST(Export, ModeloptNamesModulesAsTheCheckpointDoes) {
  ParetoFront front = FrontOf("modelopt");
  front.run.module_prefix = "language_model.model.";
  for (const char* format : {"modelopt", "modelopt-config"}) {
    const ScoredPlan plan = PlanOf("nvfp4_calibrated;0:fp8_e4m3_calibrated", "modelopt");
    const std::string json = ExportPlan(plan, front, format);
    EXPECT_THAT(json, HasSubstr("\"language_model.model.layers.0.self_attn\""));
    EXPECT_EQ(Import(json, "modelopt"), plan.plan);
  }
}

TEST(Export, HqqFillsUpTokens) {
  const std::string snippet = Export("KV4", "hf", "hf");
  EXPECT_THAT(snippet, HasSubstr("pad(tensor, (0, 0, 0, -tensor.shape[-2] % 4))"));
  EXPECT_THAT(Export("KV4", "hf-quanto", "hf-quanto"), Not(HasSubstr("pad(")));
}

TEST(Export, KiviYamlNamesItsSettings) {
  EXPECT_THAT(Export("KV4", "kvtuner-kivi", "kvtuner"),
              HasSubstr("axis_key=1, axis_value=0, q_group_size=32, residual_length=32"));
}

TEST(Export, EveryFormatReadsBack) {
  for (const char* target : {"kvtuner", "kvtuner-kivi"}) {
    for (const char* format : {"kvtuner", "json"}) {
      const PrecisionPlan plan = PlanOf("K4V2;0:KV8;2:K8V2", target).plan;
      EXPECT_EQ(Import(Export("K4V2;0:KV8;2:K8V2", target, format), target), plan)
          << target << " " << format;
    }
  }
}

TEST(Export, JsonHoldsExactLayers) {
  const PrecisionPlan plan = PlanOf("KV4;0:exact", "kvtuner").plan;
  EXPECT_EQ(Import(Export("KV4;0:exact", "kvtuner", "json"), "kvtuner"), plan);
}

TEST(Export, KvtunerYamlRefusesExactLayers) {
  try {
    Export("KV4;1:exact", "kvtuner", "kvtuner");
    FAIL() << "expected an error";
  } catch (const Error& error) {
    EXPECT_EQ(error.exit_code(), ExitCode::kError);
    EXPECT_THAT(error.what(), HasSubstr("layer 1 takes exact, expected one of KV8"));
  }
}

TEST(Export, UnknownFormatIsAUsageError) {
  try {
    Export("KV4", "kvtuner", "vllm");
    FAIL() << "expected an error";
  } catch (const Error& error) {
    EXPECT_EQ(error.exit_code(), ExitCode::kUsage);
    EXPECT_THAT(error.what(), HasSubstr("expected one of kvtuner, json"));
  }
}

TEST(Import, YamlMayBeInAnyOrderAndFlowStyle) {
  EXPECT_EQ(PlanSpec(Import("2: {nbits_value: 2, nbits_key: 4}\n"
                            "0: {nbits_key: 8, nbits_value: 8}\n"
                            "1: {nbits_key: 4, nbits_value: 2}\n",
                            "kvtuner")),
            "K4V2;0:KV8");
}

TEST(Import, YamlErrorsNameLineAndLayer) {
  EXPECT_THAT(
      ImportError("0:\n  nbits_key: 3\n  nbits_value: 4\n"),
      HasSubstr("plan file, line 2: layer 0: nbits_key: found \"3\", expected one of 8, 4"));
  EXPECT_THAT(ImportError("0:\n  nbits_key: 8\n"), HasSubstr("layer 0: found"));
  EXPECT_THAT(ImportError("0: {nbits_key: 8, nbits_value: 8, axis: 1}\n"),
              HasSubstr("expected exactly nbits_key and nbits_value"));
  EXPECT_THAT(ImportError("0: {nbits_key: 8, nbits_value: 8}\n"), HasSubstr("found no layer 1"));
  EXPECT_THAT(ImportError("9: {nbits_key: 8, nbits_value: 8}\n"),
              HasSubstr("found the layer \"9\", expected 0 to 2"));
  EXPECT_THAT(ImportError("0: {nbits_key: 8, nbits_value: 8}\n0: {nbits_key: 8, nbits_value: 8}\n"),
              HasSubstr("found layer 0 twice"));
  EXPECT_THAT(ImportError("0: {nbits_key: 8, nbits_value: 8}\n1: {nbits_key: [1}\n"),
              HasSubstr("plan file: not valid YAML at line 2, column 18: "));
  EXPECT_THAT(ImportError("nbits_key"), HasSubstr("found no mapping"));
}

TEST(Import, JsonAcceptsSpecOrLayers) {
  EXPECT_EQ(PlanSpec(Import(R"({"spec": "KV4;0:KV8"})", "kvtuner")), "KV4;0:KV8");
  EXPECT_EQ(PlanSpec(Import(R"({"layers": [{"key": "int8", "value": "int8"},
                                            {"key": "int4", "value": "int4"},
                                            {"key": "int4", "value": "int4"}]})",
                            "kvtuner")),
            "KV4;0:KV8");
}

TEST(Import, JsonErrorsNameTheField) {
  EXPECT_THAT(ImportError(R"({"layers": []})"),
              HasSubstr("found 0 layers, expected the model's 3"));
  EXPECT_THAT(ImportError(R"({"spec": "KV4", "colour": 1})"), HasSubstr("unknown key \"colour\""));
  EXPECT_THAT(ImportError(R"({"schema_version": 1})"), HasSubstr("\"spec\": found nothing"));
  EXPECT_THAT(ImportError(R"({"spec": "KV4", "target": "kvtuner-kivi"})"),
              HasSubstr("\"target\": found \"kvtuner-kivi\", expected \"kvtuner\""));
  EXPECT_THAT(ImportError(R"({"spec": "KV4", "schema_version": 99})"),
              HasSubstr("\"schema_version\": found 99"));
  EXPECT_THAT(ImportError(R"({"plans": [], "uniform": []})"), HasSubstr("RUN:NAME"));
  EXPECT_THAT(ImportError("{\n  \"spec\": \n}"), HasSubstr("line 3"));
}

TEST(Import, JsonSpecAndLayersMustAgree) {
  EXPECT_THAT(ImportError(R"({"spec": "KV8", "layers": [{"key": "int4", "value": "int4"},
                              {"key": "int4", "value": "int4"},
                              {"key": "int4", "value": "int4"}]})"),
              HasSubstr("\"spec\": found \"KV8\", expected what the layers say, \"KV4\""));
}

}  // namespace
}  // namespace kvtune
