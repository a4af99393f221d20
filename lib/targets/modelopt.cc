// Checkpoints with a KV cache format for every layer, in NVIDIA ModelOpt's form (its AutoQuantize
// for KV caches; modelopt/torch/export). The scales are in the checkpoint, as k_proj.k_scale and
// v_proj.v_scale.
#include <fmt/format.h>

#include <array>
#include <nlohmann/json.hpp>

#include "lib/base/error.h"
#include "lib/targets/engine.h"
#include "lib/targets/plan_text.h"

namespace kvtune {
namespace {

constexpr PrecisionPair kFp8{KvFormatId::kFp8E4m3Calibrated, KvFormatId::kFp8E4m3Calibrated};
constexpr PrecisionPair kFp8KeysNvfp4Values{KvFormatId::kFp8E4m3Calibrated,
                                            KvFormatId::kNvfp4Calibrated};
constexpr PrecisionPair kNvfp4{KvFormatId::kNvfp4Calibrated, KvFormatId::kNvfp4Calibrated};

struct Algorithm {
  std::string_view name;
  PrecisionPair pair;
};
constexpr std::array<Algorithm, 3> kAlgorithms = {
    {{"FP8", kFp8}, {"FP8_K_NVFP4_V", kFp8KeysNvfp4Values}, {"NVFP4", kNvfp4}}};

// As of vLLM, which reads these checkpoints (vllm.cc).
const std::vector<GpuNeed> kGpuNeeds = {{KvFormatId::kFp8E4m3Calibrated, 89, "as vLLM's FP8"},
                                        {KvFormatId::kNvfp4Calibrated, 100, "as vLLM's NVFP4"}};

constexpr const char* kMap = "kv_cache_quantized_layers";
constexpr const char* kAlgorithmKey = "quant_algo";
constexpr int kLayerMapVersion = 1;

// `prefix` is how the checkpoint's names begin, see Provenance::module_prefix.
std::string ModuleOf(std::string_view prefix, size_t layer) {
  return fmt::format("{}layers.{}.self_attn", prefix, layer);
}

Json QuantizationOf(const PrecisionPlan& plan, const std::string& prefix) {
  Json layers = Json::object();
  for (size_t layer = 0; layer < plan.layers.size(); ++layer) {
    for (const Algorithm& algorithm : kAlgorithms) {
      if (algorithm.pair == plan.layers[layer])
        layers[ModuleOf(prefix, layer)] = {{kAlgorithmKey, algorithm.name}};
    }
  }
  return {{kAlgorithmKey, nullptr},
          {"kv_cache_quant_algo", "MIXED_PRECISION"},
          {kMap, std::move(layers)},
          {"kv_cache_schema_version", kLayerMapVersion}};
}

std::string WriteQuantConfig(const ScoredPlan& plan, const Provenance& run, const Target&) {
  return DumpJson({{"producer", {{"name", "kvtune"}, {"version", run.version}}},
                   {"quantization", QuantizationOf(plan.plan, run.module_prefix)}});
}

std::string WriteModelConfig(const ScoredPlan& plan, const Provenance& run, const Target&) {
  Json quantization = QuantizationOf(plan.plan, run.module_prefix);
  quantization["quant_method"] = "modelopt";
  quantization["producer"] = {{"name", "kvtune"}, {"version", run.version}};
  return DumpJson({{"quantization_config", std::move(quantization)}});
}

bool IsQuantConfig(std::string_view content) { return IsJsonWith(content, "quantization"); }
bool IsModelConfig(std::string_view content) { return IsJsonWith(content, "quantization_config"); }

// Models that also read images have names with more in front ("language_model.model.").
size_t LayerOf(const std::string& module, size_t layer_count, const std::string& source) {
  for (size_t layer = 0; layer < layer_count; ++layer) {
    const std::string plain = ModuleOf("", layer);
    if (module == plain || module.ends_with("." + plain)) return layer;
  }
  throw Error(fmt::format("{}: \"{}\": found the module \"{}\", expected {} to {}", source, kMap,
                          module, ModuleOf("model.", 0), ModuleOf("model.", layer_count - 1)));
}

// Reads the part about the KV cache; what the object says about weights is ignored.
PrecisionPlan ReadQuantization(const Json& json, const std::string& source, size_t layer_count) {
  const auto fail = [&](const std::string& found_and_expected) {
    throw Error(fmt::format("{}: \"{}\": {}", source, kMap, found_and_expected));
  };
  if (!json.is_object() || !json.contains(kMap) || !json[kMap].is_object()) {
    fail("found none, expected an object of modules with their quant_algo");
  }
  if (const Json version = json.value("kv_cache_schema_version", Json());
      version != kLayerMapVersion) {
    throw Error(fmt::format("{}: \"kv_cache_schema_version\": found {}, expected {}", source,
                            version.dump(), kLayerMapVersion));
  }
  PrecisionPlan plan = PrecisionPlan::Uniform(kExactPair, layer_count);
  for (const auto& [module, value] : json[kMap].items()) {
    const Json name = value.is_object() ? value.value(kAlgorithmKey, Json()) : Json();
    const PrecisionPair* pair = nullptr;
    for (const Algorithm& algorithm : kAlgorithms) {
      if (name == algorithm.name) pair = &algorithm.pair;
    }
    if (!pair)
      fail(fmt::format("{}: found {}, expected FP8, FP8_K_NVFP4_V or NVFP4", module, name.dump()));
    plan.layers[LayerOf(module, layer_count, source)] = *pair;
  }
  return plan;
}

PrecisionPlan ReadQuantConfig(std::string_view content, const std::string& source,
                              size_t layer_count, const Target&) {
  return ReadQuantization(ParseJson(content, source)["quantization"], source, layer_count);
}

PrecisionPlan ReadModelConfig(std::string_view content, const std::string& source,
                              size_t layer_count, const Target&) {
  return ReadQuantization(ParseJson(content, source)["quantization_config"], source, layer_count);
}

}  // namespace

Engine ModeloptEngine() {
  const std::vector<PrecisionPair> pairs = {kFp8, kFp8KeysNvfp4Values, kNvfp4};
  return {
      .target = {.name = "modelopt",
                 .description =
                     "checkpoints with FP8 or NVFP4 caches layer by layer, in ModelOpt's form",
                 .shape = {ShapeKind::kAnyPair, AndExact(pairs)},
                 .pairs = pairs,
                 .pending = "a change to vLLM that reads formats by layer",
                 .pads_pages = true},
      .exports = {{.summary = {"modelopt", "hf_quant_config.json, with the scales as safetensors"},
                   .words = "quantization",
                   .write = WriteQuantConfig,
                   .recognizes = IsQuantConfig,
                   .read = ReadQuantConfig},
                  {.summary = {"modelopt-config",
                               "quantization_config for config.json, with the scales"},
                   .words = "quantization_config",
                   .write = WriteModelConfig,
                   .recognizes = IsModelConfig,
                   .read = ReadModelConfig}},
      .gpu_needs = kGpuNeeds,
  };
}

}  // namespace kvtune
