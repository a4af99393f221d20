// llama.cpp: one type for all keys and one for all values (common/arg.cpp).
#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "lib/base/error.h"
#include "lib/targets/engine.h"
#include "lib/targets/engine_settings.h"
#include "lib/targets/llama_arguments.h"
#include "lib/targets/plan_text.h"

namespace kvtune {
namespace {

constexpr std::array kFormats = {KvFormatId::kQ8_0, KvFormatId::kQ5_1, KvFormatId::kQ5_0,
                                 KvFormatId::kQ4_1, KvFormatId::kQ4_0, KvFormatId::kIq4Nl};
constexpr std::array<FormatWord, 9> kWords = {{{"f16", KvFormatId::kExact},
                                               {"bf16", KvFormatId::kExact},
                                               {"f32", KvFormatId::kExact},
                                               {"q8_0", KvFormatId::kQ8_0},
                                               {"q5_1", KvFormatId::kQ5_1},
                                               {"q5_0", KvFormatId::kQ5_0},
                                               {"q4_1", KvFormatId::kQ4_1},
                                               {"q4_0", KvFormatId::kQ4_0},
                                               {"iq4_nl", KvFormatId::kIq4Nl}}};

// The ways to set the type of one side. An option overrides the environment variable. Where neither
// is set, Ollama's variable counts, because Ollama starts llama-server with its value for both
// sides (ollama's llm/llama_server.go).
struct Names {
  const char* brief;
  const char* full;
  const char* variable;
};
constexpr Names kKeys{"-ctk", "--cache-type-k", "LLAMA_ARG_CACHE_TYPE_K"};
constexpr Names kValues{"-ctv", "--cache-type-v", "LLAMA_ARG_CACHE_TYPE_V"};
constexpr const char* kOllama = "OLLAMA_KV_CACHE_TYPE";
// Flags that only ik_llama.cpp has. They tell its command lines from those of llama.cpp, which look
// the same otherwise.
constexpr std::array kOtherFlags = {"-khad",     "-vhad",      "-ctk-first",
                                    "-ctk-last", "-ctv-first", "-ctv-last"};

// The line switches flash attention on, because values in a quantized type need it.
// Without GGML_CUDA_FA_ALL_QUANTS, CUDA builds have fused attention kernels for equal types among
// f16, bf16, q8_0 and q4_0 alone (ggml/src/ggml-cuda/fattn.cu, ggml_cuda_get_best_fattn_kernel).
std::optional<std::string> WhyNoDefaultKernel(PrecisionPair pair) {
  const bool is_built = pair.key == KvFormatId::kQ8_0 || pair.key == KvFormatId::kQ4_0;
  if (pair.key == pair.value && is_built) return std::nullopt;
  return "default CUDA builds have fused kernels for equal types among f16, bf16, q8_0 and q4_0 "
         "alone; without -DGGML_CUDA_FA_ALL_QUANTS=ON attention falls to the CPU and runs 8 to 30 "
         "times slower";
}

std::string Write(const ScoredPlan& plan, const Provenance&, const Target&) {
  const PrecisionPair pair = plan.plan.layers.front();
  return fmt::format("-fa on {} {} {} {}\n", kKeys.brief, WordOf(kWords, pair.key), kValues.brief,
                     WordOf(kWords, pair.value));
}

bool Recognizes(std::string_view content) {
  const EngineSettings settings(content, "");
  for (const char* flag : kOtherFlags) {
    if (settings.Has({flag})) return false;
  }
  return settings.Has({kKeys.brief, kKeys.full, kKeys.variable, kValues.brief, kValues.full,
                       kValues.variable, kOllama});
}

// Ollama reads its variable in lower case, so the word is compared that way.
char AsLowerCase(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

// The type of one side; f16, the engine's default, where the text does not set it.
KvFormatId TypeOf(const EngineSettings& settings, const Names& names) {
  const Setting* setting = settings.Find({names.brief, names.full});
  if (!setting) setting = settings.Find({names.variable});
  if (!setting) setting = settings.Find({kOllama});
  if (!setting) return KvFormatId::kExact;
  std::string word = settings.Word({setting->name}).value();
  if (setting->name == kOllama) std::ranges::transform(word, word.begin(), AsLowerCase);
  if (const auto format = FormatOfWord(kWords, word)) return *format;
  settings.Fail(*setting, fmt::format("found {}, expected one of {}", word, WordsOf(kWords)));
}

PrecisionPlan Read(std::string_view content, const std::string& source, size_t layer_count,
                   const Target&) {
  const EngineSettings settings(content, source);
  const PrecisionPlan plan =
      PrecisionPlan::Uniform({TypeOf(settings, kKeys), TypeOf(settings, kValues)}, layer_count);
  RequireFlashAttention(settings, plan);
  return plan;
}

// All pairs that the engine can run, including those with f16 on one side. Such plans may be scored
// and exported, but the search does not try them, because it would find out nothing by them.
std::vector<PrecisionPair> WithExactSides() {
  std::vector<KvFormatId> formats = {KvFormatId::kExact};
  formats.insert(formats.end(), kFormats.begin(), kFormats.end());
  return AllPairs(formats);
}

}  // namespace

Engine LlamaCppEngine() {
  return {
      .target =
          {.name = "llama.cpp",
           .description =
               "llama.cpp: one type for keys, one for values; heads rotated where they can be",
           .shape = {ShapeKind::kOnePair, WithExactSides()},
           .pairs = AllPairs(kFormats)},
      .exports =
          {{.summary = {"llama.cpp", "arguments of llama-server"},
            .words =
                "-ctk, -ctv, LLAMA_ARG_CACHE_TYPE_K, LLAMA_ARG_CACHE_TYPE_V, OLLAMA_KV_CACHE_TYPE",
            .write = Write,
            .recognizes = Recognizes,
            .read = Read}},
      .why_no_default_kernel = WhyNoDefaultKernel,
  };
}

}  // namespace kvtune
