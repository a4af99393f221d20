// vLLM: the whole model takes one format, except for a list of layers that stay in the model's own
// type (--kv-cache-dtype, --kv-cache-dtype-skip-layers; vllm/config/cache.py).
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <bit>
#include <functional>
#include <nlohmann/json.hpp>

#include "lib/base/error.h"
#include "lib/targets/engine.h"
#include "lib/targets/engine_settings.h"
#include "lib/targets/plan_text.h"

namespace kvtune {
namespace {

constexpr std::array kFormats = {KvFormatId::kInt8PerTokenHead,
                                 KvFormatId::kFp8PerTokenHead,
                                 KvFormatId::kFp8E4m3Calibrated,
                                 KvFormatId::kFp8E4m3,
                                 KvFormatId::kFp8E5m2,
                                 KvFormatId::kNvfp4Calibrated,
                                 KvFormatId::kNvfp4,
                                 KvFormatId::kInt4PerTokenHead};

// The presets of TurboQuant; the keys of the first one are plain FP8
// (vllm/model_executor/layers/quantization/turboquant/config.py, TQ_PRESETS). With each of them
// vLLM itself adds the first two and the last two layers to the exact ones
// (get_boundary_skip_layers there; vllm/engine/arg_utils.py).
constexpr std::array<PairName, 4> kTurboquant = {
    {{{KvFormatId::kFp8E4m3, KvFormatId::kTurboquantValue4}, "turboquant_k8v4"},
     {{KvFormatId::kTurboquantKey4, KvFormatId::kTurboquantValue4}, "turboquant_4bit_nc"},
     {{KvFormatId::kTurboquantKey3, KvFormatId::kTurboquantValue4}, "turboquant_k3v4_nc"},
     {{KvFormatId::kTurboquantKey3, KvFormatId::kTurboquantValue3}, "turboquant_3bit_nc"}}};
const PairNames kTurboquantNames(kTurboquant);
constexpr size_t kTurboquantExactEnds = 2;

// The words of vllm/config/cache.py, CacheDType. Layers without quantization have the model's own
// type, which "auto" names; naming a 16-bit type is exact too.
constexpr std::array<FormatWord, 13> kWords = {{
    {"auto", KvFormatId::kExact},
    {"bfloat16", KvFormatId::kExact},
    {"float16", KvFormatId::kExact},
    {"int8_per_token_head", KvFormatId::kInt8PerTokenHead},
    {"fp8_per_token_head", KvFormatId::kFp8PerTokenHead},
    {"fp8_e4m3", KvFormatId::kFp8E4m3},
    {"fp8_e4m3", KvFormatId::kFp8E4m3Calibrated},
    {"fp8", KvFormatId::kFp8E4m3},
    {"fp8", KvFormatId::kFp8E4m3Calibrated},
    {"fp8_e5m2", KvFormatId::kFp8E5m2},
    {"nvfp4", KvFormatId::kNvfp4},
    {"nvfp4", KvFormatId::kNvfp4Calibrated},
    {"int4_per_token_head", KvFormatId::kInt4PerTokenHead},
}};

constexpr const char* kDtypeFlag = "--kv-cache-dtype";
constexpr const char* kSkipFlag = "--kv-cache-dtype-skip-layers";
constexpr const char* kDtypeKey = "kv_cache_dtype";
constexpr const char* kSkipKey = "kv_cache_dtype_skip_layers";
// This flag makes vLLM set each layer's scales from the first batch that it sees, to the largest
// magnitude divided by a constant (200 for keys, 100 for values; vllm/attention/layer.py,
// calc_kv_scales; the newest releases no longer have it). The scales are then not 1, so kvtune's
// calibrated scales, from the largest magnitude on its prompts, stand for them. The constant hardly
// matters in a floating-point format.
constexpr const char* kCalculateFlag = "--calculate-kv-scales";
// In the list of layers to skip, this word means all layers with a sliding window
// (vllm/model_executor/layers/attention).
constexpr const char* kSlidingLayers = "sliding_window";

struct Arguments {
  std::string dtype = "auto";
  std::vector<std::string> skipped_layers = {};
};

// vLLM, docs/design/attention_backends.md. On GPUs before Ada, FlashInfer's kernels alone read
// E4M3, and the Triton kernels, which store the per-token formats, cannot convert to it.
constexpr std::string_view kFp8Need =
    "Triton has no E4M3 conversion before Ada (FlashInfer alone reads it there)";
constexpr std::string_view kNvfp4Need = "the kernels are those of TensorRT-LLM in FlashInfer";
const std::vector<GpuNeed> kGpuNeeds = {{KvFormatId::kFp8PerTokenHead, 89, kFp8Need},
                                        {KvFormatId::kFp8E4m3Calibrated, 89, kFp8Need},
                                        {KvFormatId::kFp8E4m3, 89, kFp8Need},
                                        {KvFormatId::kNvfp4Calibrated, 100, kNvfp4Need},
                                        {KvFormatId::kNvfp4, 100, kNvfp4Need}};

PlanShape Shape() {
  PlanShape shape{ShapeKind::kOnePairAndExact, TiedPairs(kFormats)};
  for (const PairName& preset : kTurboquant) shape.pairs_with_exact_ends.push_back(preset.pair);
  shape.exact_ends = kTurboquantExactEnds;
  shape.pairs.insert(shape.pairs.end(), shape.pairs_with_exact_ends.begin(),
                     shape.pairs_with_exact_ends.end());
  std::ranges::stable_sort(shape.pairs, std::greater(), [](PrecisionPair pair) {
    return FormatOf(pair.key).bits + FormatOf(pair.value).bits;
  });
  return shape;
}

// TurboQuant stores a key and its value in one slot, so both need the same head_dim, and its
// kernels cannot handle sliding windows (vllm/v1/attention/backends/turboquant_attn.py).
std::optional<std::string> WhyNotInSlots(PrecisionPair pair, const LayerShape& layer) {
  if (layer.key_head_dim != layer.value_head_dim) {
    return fmt::format("found keys of {} channels and values of {}, expected as many for {}",
                       layer.key_head_dim, layer.value_head_dim, PairLabel(pair));
  }
  if (layer.window_tokens != 0) {
    return fmt::format("found a sliding window of {} tokens, expected none for {}",
                       layer.window_tokens, PairLabel(pair));
  }
  return std::nullopt;
}

// TurboQuant packs its 3-bit values by eight channels into three bytes, and its 4-bit values by two
// channels into one byte.
std::optional<std::string> WhyNotPacked(KvFormatId value, const LayerShape& layer) {
  return WhyNotInBlocks(value, FormatOf(value).bits == 3 ? 8 : 2, layer.value_head_dim);
}

// The kernels rotate whole heads by a matrix that exists only for powers of two.
std::optional<std::string> WhyNotRotated(KvFormatId id, KvSide side, const LayerShape& layer) {
  const bool is_rotated = FormatOf(id).layout(side).rotation.kind != RotationKind::kNone;
  if (!is_rotated || std::has_single_bit(static_cast<uint64_t>(layer.head_dim(side))))
    return std::nullopt;
  return fmt::format("found a head_dim of {}, expected a power of two for {}", layer.head_dim(side),
                     FormatOf(id).name);
}

std::optional<std::string> WhyNotStored(PrecisionPair pair, const LayerShape& layer) {
  const bool is_turboquant = FormatOf(pair.value).numerics == Numerics::kTurboquantValue;
  std::optional<std::string> why;
  if (is_turboquant) why = WhyNotInSlots(pair, layer);
  if (!why) why = WhyNotInGroups(pair, layer);
  if (!why) why = WhyNotRotated(pair.key, KvSide::kKey, layer);
  if (!why) why = WhyNotRotated(pair.value, KvSide::kValue, layer);
  if (!why && is_turboquant) why = WhyNotPacked(pair.value, layer);
  return why;
}

std::string WordOf(PrecisionPair pair) {
  return pair.key == pair.value ? std::string(WordOf(kWords, pair.key)) : PairLabel(pair);
}

std::optional<PrecisionPair> PairOf(std::string_view word, ScaleNote note) {
  for (const PairName& preset : kTurboquant) {
    if (word == preset.name) return preset.pair;
  }
  const std::optional<KvFormatId> format = FormatOfWord(kWords, word, note);
  if (!format) return std::nullopt;
  return PrecisionPair{*format, *format};
}

std::string AllWords() {
  std::string words = WordsOf(kWords);
  for (const PairName& preset : kTurboquant) words += fmt::format(", {}", preset.name);
  return words;
}

Arguments ArgumentsOf(const PrecisionPlan& plan) {
  Arguments arguments;
  for (size_t layer = 0; layer < plan.layers.size(); ++layer) {
    if (plan.layers[layer].is_exact()) {
      arguments.skipped_layers.push_back(fmt::format("{}", layer));
    } else {
      arguments.dtype = WordOf(plan.layers[layer]);
    }
  }
  if (plan.is_exact()) arguments.skipped_layers.clear();
  return arguments;
}

// Whether `word`, an entry in the list of exact layers, means this layer.
bool Skips(const std::string& word, size_t layer, const Target& target, size_t layer_count,
           const std::string& where) {
  if (word != kSlidingLayers) return LayerIndexOf(word, layer_count, where) == layer;
  if (target.layers.size() != layer_count) {
    throw Error(fmt::format("{}: found {}, expected indices where no model says which layers slide",
                            where, word));
  }
  return target.layers[layer].window_tokens > 0;
}

PrecisionPlan PlanOf(const Arguments& arguments, ScaleNote note, const std::string& source,
                     size_t layer_count, const Target& target) {
  const std::optional<PrecisionPair> pair = PairOf(arguments.dtype, note);
  if (!pair) {
    throw Error(fmt::format("{}: {}: found {}, expected one of {}", source, kDtypeFlag,
                            arguments.dtype, AllWords()));
  }
  PrecisionPlan plan = Shape().Uniform(*pair, layer_count);
  const std::string where = fmt::format("{}: {}", source, kSkipFlag);
  for (const std::string& word : arguments.skipped_layers) {
    for (size_t layer = 0; layer < layer_count; ++layer) {
      if (Skips(word, layer, target, layer_count, where)) plan.layers[layer] = kExactPair;
    }
  }
  return plan;
}

std::string WriteCommandLine(const ScoredPlan& plan, const Provenance&, const Target&) {
  const Arguments arguments = ArgumentsOf(plan.plan);
  std::string text;
  if (HasCalibratedScales(plan.plan))
    text = fmt::format("{}, of the checkpoint\n", kCalibratedNote);
  text += fmt::format("{} {}", kDtypeFlag, arguments.dtype);
  if (!arguments.skipped_layers.empty()) {
    text += fmt::format(" {} {}", kSkipFlag, fmt::join(arguments.skipped_layers, " "));
  }
  return text + "\n";
}

bool HasWords(std::string_view content) {
  return EngineSettings(content, "").Has({kDtypeFlag, kSkipFlag});
}

bool IsCommandLine(std::string_view content) { return !TryJson(content) && HasWords(content); }
bool IsJson(std::string_view content) { return TryJson(content) && HasWords(content); }

// Reads the two settings of the cache; all other arguments of the engine are ignored.
PrecisionPlan Read(std::string_view content, const std::string& source, size_t layer_count,
                   const Target& target) {
  const EngineSettings settings(content, source);
  const std::optional<std::string> dtype = settings.Word({kDtypeFlag});
  if (!dtype) {
    throw Error(
        fmt::format("{}: found {} alone, expected {} beside it", source, kSkipFlag, kDtypeFlag));
  }
  ScaleNote note = ScaleNoteOf(content);
  if (settings.IsOn({kCalculateFlag})) note = ScaleNote::kCalibrated;
  return PlanOf({*dtype, settings.Words({kSkipFlag})}, note, source, layer_count, target);
}

std::string WriteJson(const ScoredPlan& plan, const Provenance&, const Target&) {
  const Arguments arguments = ArgumentsOf(plan.plan);
  Json json = {{kDtypeKey, arguments.dtype}};
  if (!arguments.skipped_layers.empty()) json[kSkipKey] = arguments.skipped_layers;
  return DumpJson(json);
}

// The shape without calibrated scales. JSON has no comments, so it cannot hold the note that tells
// calibrated scales from unit scales.
PlanShape WithoutCalibrated(PlanShape shape) {
  std::erase_if(shape.pairs, [](PrecisionPair pair) {
    return FormatOf(pair.key).scale == ScaleKind::kCalibrated;
  });
  return shape;
}

}  // namespace

Engine VllmEngine() {
  const PlanShape shape = Shape();
  return {
      .target = {.name = "vllm",
                 .description = "vLLM: one format for all layers, but for a list of exact ones",
                 .shape = shape,
                 .pairs = shape.pairs,
                 .pads_pages = true},
      .exports = {{.summary = {"vllm", "arguments of vllm serve"},
                   .words = "--kv-cache-dtype, kv_cache_dtype",
                   .write = WriteCommandLine,
                   .recognizes = IsCommandLine,
                   .read = Read},
                  {.summary = {"vllm-json",
                               "the same as JSON of engine arguments, unit scales only"},
                   .words = "the same as JSON",
                   .write = WriteJson,
                   .recognizes = IsJson,
                   .read = Read,
                   .shape = WithoutCalibrated(shape)}},
      .why_not_stored = WhyNotStored,
      .gpu_needs = kGpuNeeds,
  };
}

}  // namespace kvtune
