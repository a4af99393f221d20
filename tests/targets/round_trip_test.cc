// What is written for an engine is read back as the same plan, and its words are the engine's own.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "lib/base/error.h"
#include "lib/base/random.h"
#include "lib/targets/target.h"

namespace kvtune {
namespace {

using ::testing::HasSubstr;

ParetoFront FrontOf(std::string_view target) {
  ParetoFront front;
  front.run.target = target;
  front.run.version = "1.0";
  return front;
}

PrecisionPlan Parse(std::string_view spec, std::string_view target, size_t layers) {
  return ParsePlanSpec(spec, layers, FindTarget(target).shape.pairs);
}

std::string Export(const PrecisionPlan& plan, std::string_view target, std::string_view format) {
  ScoredPlan scored;
  scored.name = "p07";
  scored.plan = plan;
  return ExportPlan(scored, FrontOf(target), format);
}

std::string Export(std::string_view spec, std::string_view target, size_t layers = 4) {
  return Export(Parse(spec, target, layers), target, FindTarget(target).exports.front().name);
}

// As a spec.
std::string Import(std::string_view content, std::string_view target, size_t layers = 4) {
  return PlanSpec(ImportPlan(content, "plan file", layers, FindTarget(target)));
}

std::string ImportError(std::string_view content, std::string_view target) {
  try {
    return "no error: " + Import(content, target);
  } catch (const Error& error) {
    return error.what();
  }
}

PrecisionPlan DrawPlan(const std::vector<PrecisionPair>& pairs, size_t layers, Random& random) {
  PrecisionPlan plan;
  while (plan.layers.size() < layers) plan.layers.push_back(pairs[random.Below(pairs.size())]);
  return plan;
}

// Of 1 to 12 layers, as the search could find them, and as near to anything as the format can
// express.
TEST(RoundTrip, EveryFormatOfEveryTargetReadsBack) {
  Random random(5);
  for (const Target& target : Targets()) {
    for (const ExportSummary& format : target.exports) {
      std::vector<PrecisionPlan> wanted;
      for (const PrecisionPair pair : target.pairs) wanted.push_back(target.shape.Uniform(pair, 3));
      // An empty list, which mlx-optiq would have to write, is also what says nothing.
      const bool writes_exact = format.name != "mlx-optiq";
      if (writes_exact) wanted.push_back(PrecisionPlan::Uniform(kExactPair, 3));
      for (size_t i = 0; i < 60; ++i) {
        std::vector<PrecisionPair> pairs = target.shape.pairs;
        if (i % 2 == 0) pairs = {kExactPair, pairs[random.Below(pairs.size())]};
        PrecisionPlan plan = DrawPlan(pairs, 1 + i % 12, random);
        if (plan.is_exact() && !writes_exact) plan.layers[0] = target.pairs.front();
        wanted.push_back(std::move(plan));
      }
      for (const PrecisionPlan& plan : wanted) {
        const std::optional<Misfit> misfit = FindMisfit(plan, target, format.name);
        const PrecisionPlan& expressible = misfit ? misfit->nearest : plan;
        const std::string content = Export(expressible, target.name, format.name);
        EXPECT_EQ(PlanSpec(ImportPlan(content, "plan file", plan.layers.size(), target)),
                  PlanSpec(expressible))
            << target.name << ", " << format.name << ":\n"
            << content;
      }
    }
  }
}

TEST(RoundTrip, PlansThatTheSearchTriesAreExpressible) {
  for (const Target& target : Targets()) {
    for (const PrecisionPair pair : target.pairs) {
      EXPECT_FALSE(FindMisfit(target.shape.Uniform(pair, 3), target, target.exports.front().name))
          << target.name << ", " << PairLabel(pair);
    }
  }
}

TEST(RoundTrip, VllmPlansReadBack) {
  EXPECT_EQ(Export("fp8_e4m3;0-1:exact", "vllm", 28),
            "--kv-cache-dtype fp8_e4m3 --kv-cache-dtype-skip-layers 0 1\n");
  EXPECT_EQ(Export("int4_per_token_head;0:exact;1:exact;27:exact", "vllm", 28),
            "--kv-cache-dtype int4_per_token_head --kv-cache-dtype-skip-layers 0 1 27\n");
  EXPECT_EQ(Export("int4_per_token_head", "vllm"), "--kv-cache-dtype int4_per_token_head\n");
  EXPECT_EQ(Export("fp8_e4m3_calibrated;1:exact", "vllm"),
            "# scales: calibrated, of the checkpoint\n"
            "--kv-cache-dtype fp8_e4m3 --kv-cache-dtype-skip-layers 1\n");
  EXPECT_EQ(
      Import("vllm serve m \\\n  --kv-cache-dtype=fp8 --kv-cache-dtype-skip-layers 0 3 --port 1",
             "vllm"),
      "exact;1-2:fp8_e4m3");
  EXPECT_EQ(Import(R"({"kv_cache_dtype": "nvfp4", "kv_cache_dtype_skip_layers": ["2"]})", "vllm"),
            "nvfp4;2:exact");
  EXPECT_THAT(ImportError("--kv-cache-dtype fp7", "vllm"),
              HasSubstr("plan file: --kv-cache-dtype: found fp7, expected"));
  EXPECT_THAT(ImportError("--kv-cache-dtype fp8 --kv-cache-dtype-skip-layers 4", "vllm"),
              HasSubstr("found the layer \"4\", expected 0 to 3"));
}

// The first and the last two layers are exact whether the list says so or not.
TEST(RoundTrip, VllmTurboquantPlansReadBack) {
  EXPECT_EQ(Export("turboquant_4bit_nc;0-1:exact;3:exact;6-7:exact", "vllm", 8),
            "--kv-cache-dtype turboquant_4bit_nc --kv-cache-dtype-skip-layers 0 1 3 6 7\n");
  EXPECT_THAT(Export(Parse("exact;1:turboquant_k3v4_nc", "vllm", 3), "vllm", "vllm-json"),
              HasSubstr("\"kv_cache_dtype\": \"turboquant_k3v4_nc\""));
  EXPECT_EQ(Import("--kv-cache-dtype turboquant_k8v4", "vllm", 8), "exact;2-5:turboquant_k8v4");
  EXPECT_EQ(Import("--kv-cache-dtype turboquant_3bit_nc --kv-cache-dtype-skip-layers 3", "vllm", 8),
            "exact;2:turboquant_3bit_nc;4-5:turboquant_3bit_nc");
  EXPECT_EQ(
      Import(
          R"({"kv_cache_dtype": "turboquant_4bit_nc", "kv_cache_dtype_skip_layers": ["0", "4"]})",
          "vllm", 5),
      "exact;2:turboquant_4bit_nc");
  EXPECT_THAT(ImportError("--kv-cache-dtype turboquant_5bit", "vllm"),
              HasSubstr("turboquant_k8v4, turboquant_4bit_nc"));

  const PrecisionPlan everywhere = Parse("turboquant_4bit_nc", "vllm", 8);
  const std::optional<Misfit> misfit = FindMisfit(everywhere, FindTarget("vllm"), "vllm");
  ASSERT_TRUE(misfit);
  EXPECT_THAT(misfit->reason,
              HasSubstr("layer 0 takes turboquant_4bit_nc, expected exact: the engine keeps"));
  EXPECT_THROW(Export(everywhere, "vllm", "vllm"), Error);
  // Formats are of one side.
  EXPECT_THROW(RequireFormatsOf(FindTarget("vllm"), Parse("tq_v4/tq_v4", "vllm", 3), "the plan"),
               Error);
}

TEST(RoundTrip, VllmHasOneFormat) {
  const PrecisionPlan plan = Parse("fp8_e4m3;0:exact;3:int4_per_token_head", "vllm", 4);
  const std::optional<Misfit> misfit = FindMisfit(plan, FindTarget("vllm"), "vllm");
  ASSERT_TRUE(misfit);
  EXPECT_THAT(misfit->reason, HasSubstr("layer 1 takes fp8_e4m3 and layer 3 int4_per_token_head"));
  EXPECT_EQ(PlanSpec(misfit->nearest), "fp8_e4m3;0:exact");
  EXPECT_THROW(Export(plan, "vllm", "vllm"), Error);
}

TEST(RoundTrip, ModeloptPlansReadBack) {
  const std::string spec =
      "fp8_e4m3_calibrated;1:fp8_e4m3_calibrated/nvfp4_calibrated;2:exact;3:nvfp4_calibrated";
  const std::string config = Export(spec, "modelopt");
  EXPECT_THAT(config, HasSubstr("\"kv_cache_quant_algo\": \"MIXED_PRECISION\""));
  EXPECT_THAT(config, HasSubstr("\"model.layers.0.self_attn\": {\n"));
  EXPECT_THAT(config, HasSubstr("\"quant_algo\": \"FP8_K_NVFP4_V\""));
  EXPECT_THAT(Export(Parse(spec, "modelopt", 4), "modelopt", "modelopt-config"),
              HasSubstr("\"quant_method\": \"modelopt\""));
  EXPECT_THAT(
      ImportError(
          R"({"quantization": {"kv_cache_schema_version": 2, "kv_cache_quantized_layers": {}}})",
          "modelopt"),
      HasSubstr("\"kv_cache_schema_version\": found 2, expected 1"));
}

TEST(RoundTrip, TensorrtLlmPlansReadBack) {
  EXPECT_THAT(Export("nvfp4_calibrated;0-3:fp8_e4m3_calibrated", "tensorrt-llm", 36),
              HasSubstr("\nkv_cache_config:\n  dtype: \"0-3:fp8,4-35:nvfp4\"\n"));
  EXPECT_THAT(Export("fp8_e4m3_calibrated", "tensorrt-llm"), HasSubstr("\n  dtype: \"fp8\"\n"));
  const auto error = [](std::string_view ranges) {
    return ImportError(std::string("kv_cache_config: {dtype: \"") + std::string(ranges) + "\"}",
                       "tensorrt-llm");
  };
  EXPECT_THAT(error("0-3:fp4"), HasSubstr("found \"fp4\", expected one of fp8, nvfp4"));
  EXPECT_THAT(error("0-2:fp8"), HasSubstr("found 3 layers, expected 4"));
  EXPECT_THAT(error("0-2:fp8,2-3:nvfp4"),
              HasSubstr("found the layers 2-3, expected ranges from layer 3 on"));
  EXPECT_THAT(error("0-2:fp8,3:nvfp4,"), HasSubstr("found the layer \"\""));
}

TEST(RoundTrip, SglangPlansReadBack) {
  EXPECT_EQ(Export("fp8_e4m3", "sglang"), "--kv-cache-dtype fp8_e4m3\n");
  EXPECT_EQ(Export("fp4_e2m1", "sglang"), "--kv-cache-dtype fp4_mx_block16\n");
  EXPECT_EQ(Import("--kv-cache-dtype fp4_e2m1", "sglang"), "fp4_e2m1");
  EXPECT_EQ(Export("fp4_e2m1;0:exact", "sglang-per-layer", 3),
            "kv_cache_per_layer_dtype: {0: bf16, 1: fp4_e2m1, 2: fp4_e2m1}\n");
  EXPECT_THAT(ImportError("kv_cache_per_layer_dtype: {0: bf16}", "sglang-per-layer"),
              HasSubstr("found 1 layers, expected 4"));
}

TEST(RoundTrip, LmdeployPlansReadBack) {
  EXPECT_EQ(Export("KV4", "lmdeploy"), "--quant-policy 4\n");
  EXPECT_EQ(Export("fp8_e4m3", "lmdeploy"), "--quant-policy 16\n");
  EXPECT_EQ(Export("fp8_e5m2", "lmdeploy"), "--quant-policy 17\n");
  EXPECT_EQ(Import("TurbomindEngineConfig(quant_policy=8)", "lmdeploy"), "KV8");
  EXPECT_THAT(ImportError("--quant-policy 5", "lmdeploy"),
              HasSubstr("found \"5\", expected one of 0, 4, 8, 16, 17, none, int4"));
}

TEST(RoundTrip, LlamaCppPlansReadBack) {
  EXPECT_EQ(Export("q8_0/q4_0", "llama.cpp"), "-fa on -ctk q8_0 -ctv q4_0\n");
  EXPECT_EQ(Import("llama-server -m m.gguf --cache-type-k q5_1", "llama.cpp"), "q5_1/exact");
  EXPECT_THAT(ImportError("-ctk q3_0", "llama.cpp"),
              HasSubstr("plan file: -ctk: found q3_0, expected one of f16"));
  EXPECT_THAT(ImportError("-ctk q8_0 -ctk q4_0", "llama.cpp"), HasSubstr("found twice"));
  // The other engine's line needs the other target.
  EXPECT_THAT(ImportError("-ctk q4_0 -ctk-first q8_0,2", "llama.cpp"),
              HasSubstr("--target ik_llama.cpp"));
}

TEST(RoundTrip, IkLlamaCppPlansReadBack) {
  const PrecisionPlan plan =
      Parse("ik_q4_0_had/ik_q5_1;0-1:ik_q8_0_had/ik_q5_1;7:ik_q6_0_had/ik_q8_0", "ik_llama.cpp", 8);
  EXPECT_EQ(
      Export(plan, "ik_llama.cpp", "ik_llama.cpp"),
      "-fa on -ctk q4_0 -ctk-first q8_0,2 -ctk-last q6_0,1 -khad -ctv q8_0 -ctv-first q5_1,7\n");
}

TEST(RoundTrip, MlxOptiqPlansReadBack) {
  EXPECT_EQ(Export("KV4;1:KV8", "mlx-optiq", 2),
            "[{\"layer_idx\":0,\"bits\":4,\"group_size\":64}, "
            "{\"layer_idx\":1,\"bits\":8,\"group_size\":64}]\n");
  // What the file leaves out stays exact.
  EXPECT_EQ(Export("KV4;0:exact", "mlx-optiq", 2),
            "[{\"layer_idx\":1,\"bits\":4,\"group_size\":64}]\n");
  EXPECT_THROW(Export("exact", "mlx-optiq", 2), Error);
  EXPECT_THAT(ImportError("[]", "mlx-optiq"), HasSubstr("found no word about the KV cache"));
  EXPECT_THAT(ImportError(R"([{"layer_idx":0,"bits":7,"group_size":64}])", "mlx-optiq"),
              HasSubstr("\"bits\": found 7"));
  EXPECT_THAT(ImportError(R"([{"layer_idx":0,"bits":4,"group_size":32}])", "mlx-optiq"),
              HasSubstr("\"group_size\": found 32, expected 64"));
  EXPECT_THAT(
      ImportError(
          R"([{"layer_idx":0,"bits":4,"group_size":64}, {"layer_idx":0,"bits":4,"group_size":64}])",
          "mlx-optiq"),
      HasSubstr("found layer 0 twice"));
}

TEST(RoundTrip, PythonSnippetsReadBack) {
  EXPECT_THAT(Export("K8V4;1:exact", "hf", 3),
              HasSubstr("KV_BITS = [\n    (8, 4), (16, 16), (8, 4),\n]\n"));
  EXPECT_THAT(Export("K4V2", "hf-quanto"), HasSubstr("class QuantizedLayer(QuantoQuantizedLayer)"));
  EXPECT_THAT(Export("K6V5", "exllamav3"),
              HasSubstr("CacheLayer_quant(*arguments, k_bits=key_bits, v_bits=value_bits)"));
  EXPECT_THAT(Export("K6V5", "exllamav3"), HasSubstr("for name, layer in cache.layers.items():"));
  EXPECT_THAT(
      ImportError("CacheLayer_quant\nKV_BITS = [(8, 9), (8, 8), (8, 8), (8, 8)]", "exllamav3"),
      HasSubstr("KV_BITS: layer 0: found 9 bits"));
  EXPECT_THAT(ImportError("CacheLayer_quant\nKV_BITS = [(8, 9)]", "exllamav3"),
              HasSubstr("found 2 numbers, expected 8"));
}

TEST(RoundTrip, PublishedPresetsReadAsPythonToo) {
  EXPECT_EQ(Import("per_layer_config = {0: {'nbits_key': 8, 'nbits_value': 4}, 1: {'nbits_key': 4, "
                   "'nbits_value': 4}}",
                   "kvtuner", 2),
            "K8V4;1:KV4");
  EXPECT_EQ(Import("config = dict({0: {'nbits_key': 8, 'nbits_value': 4}, 1: {'nbits_key': 4, "
                   "'nbits_value': 4}})\nprint(config)\n",
                   "kvtuner", 2),
            "K8V4;1:KV4");
}

}  // namespace
}  // namespace kvtune
