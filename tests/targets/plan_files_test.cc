// Plan files as people have them: read as the engine reads them, or refused. No text without a word
// about the cache is a plan.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "lib/base/error.h"
#include "lib/base/random.h"
#include "lib/targets/target.h"

namespace kvtune {
namespace {

using ::testing::HasSubstr;

Target Fitted(std::string_view target, std::vector<int64_t> windows) {
  std::vector<LayerShape> layers;
  for (const int64_t window : windows) layers.push_back({2, 128, 128, window});
  return TargetFor(FindTarget(target), layers);
}

// As a spec, of four layers.
std::string Import(std::string_view content, std::string_view target) {
  return PlanSpec(ImportPlan(content, "plan file", 4, FindTarget(target)));
}

std::string ImportError(std::string_view content, std::string_view target) {
  try {
    return "no error: " + Import(content, target);
  } catch (const Error& error) {
    return error.what();
  }
}

TEST(PlanFiles, DeepNestingIsRefused) {
  const std::string deep(100'000, '[');
  for (const Target& target : Targets()) {
    EXPECT_THROW(ImportPlan(deep, "plan", 4, target), Error) << target.name;
  }
}

TEST(PlanFiles, Vllm) {
  const std::pair<const char*, const char*> files[] = {
      {"vllm serve m --kv_cache_dtype fp8 --kv_cache_dtype_skip_layers 0 1\n",
       "exact;2-3:fp8_e4m3"},
      {"model: m\nkv-cache-dtype: fp8\nkv-cache-dtype-skip-layers: [\"0\", \"1\"]\n",
       "exact;2-3:fp8_e4m3"},
      {"model: m\nkv_cache_dtype: fp8\n", "fp8_e4m3"},
      {"services:\n  vllm:\n    command: [\"--model\",\"m\",\"--kv-cache-dtype\",\"fp8\","
       "\"--kv-cache-dtype-skip-layers\",\"0\",\"1\"]\n",
       "exact;2-3:fp8_e4m3"},
      {"vllm serve m --kv-cache-dtype \"fp8\" --kv-cache-dtype-skip-layers \"0\" \"1\"\n",
       "exact;2-3:fp8_e4m3"},
      {"vllm serve m --kv-cache-dtype fp8 > log.txt 2>&1 &\n", "fp8_e4m3"},
      {"vllm serve m --kv-cache-dtype fp8 --kv-cache-dtype-skip-layers 0 && echo 1; echo 2",
       "fp8_e4m3;0:exact"},
      {"vllm serve --kv-cache-dtype fp8 m", "fp8_e4m3"},
      {"vllm serve m --kv-cache-dtype bfloat16\n", "exact"},
      {"vllm serve m --kv-cache-dtype float16\n", "exact"},
      {"vllm serve m --kv-cache-dtype auto\n", "exact"},
      {"LLM(model='m', kv_cache_dtype='fp8_e5m2', kv_cache_dtype_skip_layers=['3'])",
       "fp8_e5m2;3:exact"},
      {"\xef\xbb\xbfvllm serve m --kv-cache-dtype fp8", "fp8_e4m3"},
  };
  for (const auto& [content, spec] : files) EXPECT_EQ(Import(content, "vllm"), spec) << content;
  EXPECT_THAT(ImportError("vllm serve m --kv-cache-dtype-skip-layers 0", "vllm"),
              HasSubstr("found --kv-cache-dtype-skip-layers alone, expected --kv-cache-dtype"));
  EXPECT_THAT(ImportError("vllm serve m --kv-cache-dtype ${KV:-fp8}", "vllm"),
              HasSubstr("found ${KV:-fp8}, expected one of auto, bfloat16, float16"));
  EXPECT_THAT(ImportError("vllm serve m --kv-cache-dtype 'fp8", "vllm"),
              HasSubstr("ends without a closing quote"));
}

TEST(PlanFiles, VllmScalesThatTheEngineCalculatesAreNotOne) {
  for (const char* content : {"vllm serve m --kv-cache-dtype fp8 --calculate-kv-scales\n",
                              "kv_cache_dtype: fp8\ncalculate_kv_scales: true\n",
                              "{\"kv_cache_dtype\": \"fp8\", \"calculate_kv_scales\": true}"}) {
    EXPECT_EQ(Import(content, "vllm"), "fp8_e4m3_calibrated") << content;
  }
  EXPECT_EQ(Import("--kv-cache-dtype fp8 --no-calculate-kv-scales", "vllm"), "fp8_e4m3");
  EXPECT_EQ(Import("--kv-cache-dtype fp8_e5m2 --calculate-kv-scales", "vllm"), "fp8_e5m2");
  EXPECT_EQ(Import("{\"kv_cache_dtype\": \"fp8\", \"calculate_kv_scales\": false}", "vllm"),
            "fp8_e4m3");
}

TEST(PlanFiles, VllmNamesLayersByTheirKind) {
  const char* line =
      "vllm serve m --kv-cache-dtype fp8 --kv-cache-dtype-skip-layers sliding_window 3\n";
  const Target hybrid = Fitted("vllm", {512, 0, 512, 0});
  EXPECT_EQ(PlanSpec(ImportPlan(line, "plan file", 4, hybrid)), "exact;1:fp8_e4m3");
  const Target narrow = Fitted("vllm", {1, 0, 0, 0});
  EXPECT_EQ(PlanSpec(ImportPlan(line, "plan file", 4, narrow)), "exact;1-2:fp8_e4m3");
  const Target full = Fitted("vllm", {0, 0, 0, 0});
  EXPECT_EQ(PlanSpec(ImportPlan(line, "plan file", 4, full)), "fp8_e4m3;3:exact");
  EXPECT_THAT(ImportError(line, "vllm"), HasSubstr("found sliding_window, expected indices"));
}

TEST(PlanFiles, Lmdeploy) {
  const std::pair<const char*, const char*> files[] = {
      {"lmdeploy serve api_server m --backend pytorch --quant-policy fp8\n", "fp8_e4m3"},
      {"lmdeploy serve api_server m --backend pytorch --quant-policy fp8_e5m2\n", "fp8_e5m2"},
      {"lmdeploy serve api_server m --quant-policy INT8\n", "KV8"},
      {"lmdeploy serve api_server m --quant_policy 4\n", "KV4"},
      {"lmdeploy serve api_server m --quant-policy none\n", "exact"},
      {"# quant_policy: 4 (int4), 8 (int8)\n"
       "engine_config = TurbomindEngineConfig(quant_policy=8)\n",
       "KV8"},
      {"engine_config = PytorchEngineConfig(quant_policy=QuantPolicy.FP8)\n", "fp8_e4m3"},
      {"PytorchEngineConfig(quant_policy = messages.QuantPolicy.INT4)\n", "KV4"},
      {"quant_policy: 8\n", "KV8"},
  };
  for (const auto& [content, spec] : files) EXPECT_EQ(Import(content, "lmdeploy"), spec) << content;
  for (const char* content :
       {"lmdeploy serve api_server m --backend pytorch --quant-policy 42\n",
        "--quant-policy turbo_quant", "f(quant_policy=QuantPolicy.TURBO_QUANT)"})
    EXPECT_THAT(ImportError(content, "lmdeploy"), HasSubstr("TurboQuant")) << content;
  EXPECT_THAT(ImportError("--quant-policy 4 --quant-policy 8", "lmdeploy"),
              HasSubstr("found twice"));
  EXPECT_THAT(ImportError("f(quant_policy=policy)", "lmdeploy"), HasSubstr("found \"policy\""));
}

TEST(PlanFiles, LlamaCpp) {
  const std::pair<const char*, const char*> files[] = {
      {"LLAMA_ARG_CACHE_TYPE_K=q8_0 LLAMA_ARG_CACHE_TYPE_V=q8_0 llama-server -m m.gguf\n", "q8_0"},
      {"OLLAMA_KV_CACHE_TYPE=q8_0 ollama serve\n", "q8_0"},
      {"OLLAMA_KV_CACHE_TYPE=Q4_0 ollama serve\n", "q4_0"},
      {"OLLAMA_FLASH_ATTENTION=1 OLLAMA_KV_CACHE_TYPE=f16 ollama serve\n", "exact"},
      {"llama-server --cache_type_k q8_0 --cache_type_v q4_0\n", "q8_0/q4_0"},
      {"LLAMA_ARG_CACHE_TYPE_K=q8_0 llama-server -ctk q4_0\n", "q4_0/exact"},  // the option wins
      {"llama-server -fa off -ctk q8_0 -ctv f16\n", "q8_0/exact"},
      {"llama-server -fa -ctk q8_0 -ctv q8_0\n", "q8_0"},
      {"llama-server -fa auto -ctk q8_0 -ctv q8_0\n", "q8_0"},
      {"[m]\ncache-type-k = q8_0\ncache-type-v = q8_0\n", "q8_0"},
  };
  for (const auto& [content, spec] : files)
    EXPECT_EQ(Import(content, "llama.cpp"), spec) << content;
  for (const char* content :
       {"llama-server -fa off -ctk q8_0 -ctv q8_0", "llama-server --flash-attn 0 -ctv q4_0",
        "LLAMA_ARG_FLASH_ATTN=off llama-server -ctv q4_0",
        "OLLAMA_FLASH_ATTENTION=0 OLLAMA_KV_CACHE_TYPE=q8_0 ollama serve"}) {
    EXPECT_THAT(ImportError(content, "llama.cpp"), HasSubstr("expected flash attention"))
        << content;
  }
  // Ollama reads the whole word in lower case, and so it is shown.
  EXPECT_THAT(ImportError("OLLAMA_KV_CACHE_TYPE=AZ_0 ollama serve", "llama.cpp"),
              HasSubstr("found az_0, expected one of "));
  EXPECT_THAT(ImportError("-no-fa -ctk q8_0 -ctv q8_0 -khad -vhad", "ik_llama.cpp"),
              HasSubstr("-no-fa: found it, expected flash attention"));
  EXPECT_EQ(Import("llama-server --cache-type-k q8_0 -khad", "ik_llama.cpp"), "q8_0_had/exact");
}

TEST(PlanFiles, TensorrtLlm) {
  EXPECT_EQ(Import("trtllm-serve m --kv_cache_dtype fp8 --port 8000\n", "tensorrt-llm"),
            "fp8_e4m3_calibrated");
  EXPECT_EQ(Import("kv_cache_config:\n  dtype: auto\n", "tensorrt-llm"), "exact");
  EXPECT_EQ(Import("trtllm-serve m --kv_cache_dtype auto\n", "tensorrt-llm"), "exact");
  EXPECT_THAT(ImportError("trtllm-serve m --kv_cache_dtype int8\n", "tensorrt-llm"),
              HasSubstr("--kv_cache_dtype: found int8, expected one of auto, fp8, nvfp4"));
  EXPECT_THAT(ImportError("kv_cache_config: {dtype: \"0-3:auto\"}", "tensorrt-llm"),
              HasSubstr("found \"auto\""));
}

TEST(PlanFiles, Sglang) {
  EXPECT_EQ(
      Import("python -m sglang.launch_server --model m --kv-cache-dtype fp8_e5m2 &", "sglang"),
      "fp8_e5m2");
  EXPECT_EQ(Import("kv-cache-dtype: bfloat16\n", "sglang"), "exact");
}

TEST(PlanFiles, CommentedListsAreNotRead) {
  const std::string live = "KV_BITS = [(8, 4), (8, 4), (8, 4), (8, 4)]\nCacheLayer_quant\n";
  EXPECT_EQ(Import("# KV_BITS = [(2, 2), (2, 2), (2, 2), (2, 2)]\n" + live, "exllamav3"), "K8V4");
  EXPECT_THAT(ImportError(live + live, "exllamav3"), HasSubstr("KV_BITS: found twice"));
  EXPECT_THAT(ImportError("# KV_BITS = [(2, 2)]\nCacheLayer_quant\n", "exllamav3"),
              HasSubstr("found no word about the KV cache"));
  EXPECT_EQ(Import("--kv-cache-dtype fp8  # not # scales: calibrated\n", "vllm"), "fp8_e4m3");
}

TEST(PlanFiles, ARefusalSaysWhatIsExpected) {
  EXPECT_EQ(
      ImportError("hello world", "vllm"),
      "plan file: found no word about the KV cache, expected a plan for the target vllm: vllm "
      "(--kv-cache-dtype, kv_cache_dtype), or vllm-json (the same as JSON), or json (spec, "
      "layers)");
  EXPECT_THAT(ImportError("OLLAMA_KV_CACHE_TYPE=q8_0 ollama serve", "vllm"),
              HasSubstr("found a plan of the form llama.cpp, expected one for the target vllm"));
  EXPECT_THAT(ImportError("{\"kv_cache_dtype\": \"fp8\" \"a\"}", "vllm"), HasSubstr("line 1"));
}

// Pieces of command lines, configurations and prose, none of which is about the cache.
std::string DrawText(Random& random) {
  static const std::vector<std::string> pieces = {
      "vllm",     "serve",      "m",        "--port",
      "8000",     "--dtype",    "bfloat16", "auto",
      "fp8",      "q8_0",       "4",        "--quantization",
      "-fa",      "on",         "-c",       "kv",
      "cache",    "dtype",      "policy",   "\"",
      "'",        "\\",         "\n",       "\n  ",
      "# ",       ": ",         "- ",       "[",
      "]",        "{",          "}",        ", ",
      " = ",      "=",          "&&",       "|",
      ";",        ">",          "(",        ")",
      "model",    "layers 0 1", "0",        "1: ",
      "exact",    "hello",      "null",     "true",
      "[]",       "{}",         "---\n",    "\t",
      "\"a\": 1", "quantize",   "KV4",      "\xef\xbb\xbf",
      "services", "command",    "\x01",     "\xff"};
  std::string text;
  for (size_t i = random.Below(12); i > 0; --i) {
    text += pieces[random.Below(pieces.size())];
    if (random.Below(2) == 0) text += ' ';
  }
  return text;
}

TEST(PlanFiles, TextsWithoutAWordAboutTheCacheAreNoPlans) {
  Random random(7);
  std::vector<std::string> texts = {"",
                                    "\n",
                                    " ",
                                    "hello world",
                                    "{}",
                                    "[]",
                                    "null",
                                    "0",
                                    "exact",
                                    "KV4",
                                    "# comment",
                                    "---",
                                    "{\"layer\": 1}",
                                    "[[]]",
                                    "[1, 2]",
                                    "vllm serve m",
                                    "model: m",
                                    "--dtype auto",
                                    "it's"};
  const size_t fixed = texts.size();
  for (const Target& target : Targets()) {
    texts.resize(fixed);
    while (texts.size() < 300) texts.push_back(DrawText(random));
    for (const std::string& text : texts) {
      try {
        ADD_FAILURE() << target.name << " reads " << Import(text, target.name) << " from:\n"
                      << text;
      } catch (const Error&) {
      }
    }
  }
}

// A file that is cut, or in which bytes are others, is read or refused; it is never a fault of
// ours.
TEST(PlanFiles, DamagedFilesAreReadOrRefused) {
  Random random(11);
  ParetoFront front;
  for (const Target& target : Targets()) {
    front.run.target = target.name;
    for (const ExportSummary& format : target.exports) {
      ScoredPlan plan;
      plan.name = "p07";
      plan.plan = target.shape.Uniform(target.pairs.back(), 4);
      if (FindMisfit(plan.plan, target, format.name)) continue;
      const std::string whole = ExportPlan(plan, front, format.name);
      for (size_t i = 0; i < 200; ++i) {
        std::string damaged = whole.substr(0, random.Below(whole.size() + 1));
        if (i % 2 == 0) damaged = whole;
        static const std::string kBytes = "\"'\\[]{}:,=#-> \n09az\xff";
        for (size_t n = random.Below(4); n > 0 && !damaged.empty(); --n)
          damaged[random.Below(damaged.size())] = kBytes[random.Below(kBytes.size())];
        try {
          ImportPlan(damaged, "plan file", 4, target);
        } catch (const Error&) {
        } catch (const std::exception& error) {
          ADD_FAILURE() << target.name << ", " << format.name << ": " << error.what() << "\n"
                        << damaged;
        }
      }
    }
  }
}

TEST(PlanFiles, ASecondYamlDocumentIsRefused) {
  const std::string plan =
      "0: {nbits_key: 8, nbits_value: 8}\n1: {nbits_key: 8, nbits_value: 8}\n"
      "2: {nbits_key: 8, nbits_value: 8}\n3: {nbits_key: 8, nbits_value: 8}\n";
  EXPECT_THAT(ImportError(plan + "---\n" + plan, "kvtuner"),
              HasSubstr("found more behind the first YAML document, expected one alone"));
}

// Pieces of what stands in files around a plan: no one is a word about the cache, save in comments.
std::string TextWithoutACacheWord(Random& random) {
  constexpr const char* kPieces[] = {
      "vllm serve m",
      "llama-server -m m.gguf -fa on",
      "--port 8000",
      "--dtype auto",
      "--quantization fp8",
      "dtype: fp8",
      "model: m",
      "q8_0",
      "quant: 8",
      "KV4",
      "exact",
      "fp8_e4m3",
      "services:",
      "  vllm:",
      "    command: [\"--model\", \"m\"]",
      "- --model",
      "{\"model\": \"m\", \"bits\": 8}",
      "{\"layers\": 3}",
      "[1, 2, 3]",
      "engine = LLM(model=\"m\", dtype=\"fp8\")",
      "bits = [(8, 4), (4, 4)]",
      "OLLAMA_FLASH_ATTENTION=1",
      "export DTYPE=fp8",
      "# --kv-cache-dtype fp8",
      "# kv_cache_dtype: fp8 quant_policy=8 -ctk q8_0",
      "\\",
      "\"",
      "'",
      "{",
      "]",
      "&&",
      ">",
      "|",
      "\t",
      "ü漢",
      "\xff\xfe",
      "8: 4",
      "---",
      "key: &anchor *alias",
      "hello world",
  };
  constexpr const char* kSeparators[] = {"\n", "\n", "\n", " ", "", "\r\n"};
  std::string text;
  for (uint64_t i = random.Below(12); i > 0; --i) {
    const std::string piece = kPieces[random.Below(std::size(kPieces))];
    text += piece;
    // A comment goes to the end of its line.
    text += piece[0] == '#' ? "\n" : kSeparators[random.Below(std::size(kSeparators))];
  }
  return text;
}

TEST(PlanFiles, NoTextWithoutACacheWordIsAPlan) {
  Random random(5);
  for (int round = 0; round < 400; ++round) {
    std::string text = TextWithoutACacheWord(random);
    // Glued to a word, a "#" begins no comment.
    for (size_t at = text.find("#"); at != std::string::npos; at = text.find("#", at + 2)) {
      if (at > 0 && text[at - 1] != '\n') text.insert(at++, "\n");
    }
    for (const Target& target : Targets()) {
      EXPECT_THROW(ImportPlan(text, "file", 3, target), Error) << target.name << "\n" << text;
    }
  }
}

}  // namespace
}  // namespace kvtune
