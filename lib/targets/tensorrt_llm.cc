// TensorRT-LLM: every layer takes one type for keys and values, written as ranges of layers in the
// YAML of its options. Where all layers take the same type it stands there alone, which is the form
// that releases read today (tensorrt_llm/llmapi/llm_args.py).
#include <fmt/format.h>
#include <yaml-cpp/yaml.h>

#include <array>

#include "lib/base/error.h"
#include "lib/targets/engine.h"
#include "lib/targets/engine_settings.h"
#include "lib/targets/plan_text.h"
#include "lib/targets/yaml_text.h"

namespace kvtune {
namespace {

constexpr std::array kFormats = {KvFormatId::kFp8E4m3Calibrated, KvFormatId::kNvfp4Calibrated};
constexpr std::array<FormatWord, 2> kWords = {
    {{"fp8", KvFormatId::kFp8E4m3Calibrated}, {"nvfp4", KvFormatId::kNvfp4Calibrated}}};

constexpr const char* kConfigKey = "kv_cache_config";
constexpr const char* kFlag = "--kv_cache_dtype";
constexpr std::string_view kExactWord = "auto";

std::string WriteYaml(const ScoredPlan& plan, const Provenance&, const Target&) {
  const std::vector<PrecisionPair>& layers = plan.plan.layers;
  std::string ranges;
  for (size_t first = 0; first < layers.size();) {
    size_t last = first;
    while (last + 1 < layers.size() && layers[last + 1] == layers[first]) ++last;
    ranges +=
        fmt::format("{}{}:{}", ranges.empty() ? "" : ",",
                    first == last ? fmt::format("{}", first) : fmt::format("{}-{}", first, last),
                    WordOf(kWords, layers[first].key));
    first = last + 1;
  }
  if (plan.plan == PrecisionPlan::Uniform(layers.front(), layers.size()))
    ranges = WordOf(kWords, layers.front().key);
  return PlanComment(plan.name, plan.plan) +
         fmt::format("kv_cache_config:\n  dtype: \"{}\"\n", ranges);
}

bool IsYaml(std::string_view content) { return IsYamlWith(content, kConfigKey); }

bool Recognizes(std::string_view content) {
  return IsYaml(content) || EngineSettings(content, "").Has({kFlag});
}

// The plan of one type for all layers; nullopt for an unknown word. "auto" means what the
// checkpoint says: the model's own type, unless the checkpoint's quantization names a type for the
// cache. It is read as exact.
std::optional<PrecisionPlan> UniformPlan(std::string_view word, size_t layer_count) {
  if (word == kExactWord) return PrecisionPlan::Uniform(kExactPair, layer_count);
  const std::optional<KvFormatId> format = FormatOfWord(kWords, word);
  if (!format) return std::nullopt;
  return PrecisionPlan::Uniform({*format, *format}, layer_count);
}

// Reads the option --kv_cache_dtype of trtllm-serve (tensorrt_llm/commands/serve.py).
PrecisionPlan ReadCommandLine(std::string_view content, const std::string& source,
                              size_t layer_count) {
  const EngineSettings settings(content, source);
  const std::string word = settings.Word({kFlag}).value();
  if (const std::optional<PrecisionPlan> plan = UniformPlan(word, layer_count)) return *plan;
  settings.Fail(*settings.Find({kFlag}),
                fmt::format("found {}, expected one of {}, {}", word, kExactWord, WordsOf(kWords)));
}

PrecisionPlan Read(std::string_view content, const std::string& source, size_t layer_count,
                   const Target&) {
  if (!IsYaml(content)) return ReadCommandLine(content, source, layer_count);
  const YAML::Node config = LoadYaml(content, source)[kConfigKey];
  const std::string where = source + ": kv_cache_config: dtype";
  if (!config.IsMap() || !config["dtype"] || !config["dtype"].IsScalar()) {
    throw Error(where + ": found none, expected ranges of layers such as \"0-3:fp8,4-35:nvfp4\"");
  }
  const std::string ranges = config["dtype"].Scalar();
  if (const std::optional<PrecisionPlan> plan = UniformPlan(ranges, layer_count)) return *plan;
  PrecisionPlan plan;
  for (size_t begin = 0; begin <= ranges.size();) {
    const size_t end = std::min(ranges.find(',', begin), ranges.size());
    const std::string range = ranges.substr(begin, end - begin);
    const size_t colon = range.find(':');
    const std::string layers = range.substr(0, colon);
    const size_t dash = layers.find('-');
    const size_t first = LayerIndexOf(layers.substr(0, dash), layer_count, where);
    const size_t last = dash == std::string::npos
                            ? first
                            : LayerIndexOf(layers.substr(dash + 1), layer_count, where);
    const std::string word = colon == std::string::npos ? "" : range.substr(colon + 1);
    const std::optional<KvFormatId> format = FormatOfWord(kWords, word);
    if (!format)
      throw Error(
          fmt::format("{}: found \"{}\", expected one of {}", where, word, WordsOf(kWords)));
    if (first != plan.layers.size() || last < first) {
      throw Error(fmt::format("{}: found the layers {}, expected ranges from layer {} on", where,
                              layers, plan.layers.size()));
    }
    plan.layers.resize(last + 1, {*format, *format});
    begin = end + 1;
  }
  if (plan.layers.size() != layer_count) {
    throw Error(
        fmt::format("{}: found {} layers, expected {}", where, plan.layers.size(), layer_count));
  }
  return plan;
}

// TensorRT-LLM, docs/source/features/quantization.md, "Hardware Support Matrix".
std::vector<GpuNeed> GpuNeeds() {
  std::vector<GpuNeed> needs;
  for (const KvFormatId id : kFormats) {
    const bool is_fp4 = FormatOf(id).numerics == Numerics::kNvfp4;
    needs.push_back({id, is_fp4 ? 100 : 80,
                     is_fp4 ? "its support matrix lists NVFP4 for Blackwell alone"
                            : "its support matrix lists the FP8 cache from Ampere on"});
  }
  return needs;
}

}  // namespace

Engine TensorrtLlmEngine() {
  return {
      .target = {.name = "tensorrt-llm",
                 .description = "TensorRT-LLM: FP8 or NVFP4 in every layer",
                 .shape = {ShapeKind::kAnyPair, TiedPairs(kFormats)},
                 .pairs = TiedPairs(kFormats),
                 .pending = "types by layer; uniform ones run today",
                 .pads_pages = true},
      .exports = {{.summary = {"tensorrt-llm",
                               "YAML of its options, with the scales as safetensors"},
                   .words = "kv_cache_config with dtype, --kv_cache_dtype",
                   .write = WriteYaml,
                   .recognizes = Recognizes,
                   .read = Read}},
      .gpu_needs = GpuNeeds(),
  };
}

}  // namespace kvtune
