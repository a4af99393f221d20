#include "lib/core/provenance.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "lib/core/artifacts.h"
#include "lib/core/model_options.h"

namespace kvtune {
namespace {

// As many as a config.json may ask for (ParseModelConfig).
constexpr size_t kMostLayers = 10'000;

std::vector<LayerShape> ReadLayers(JsonFields& fields) {
  const size_t layer_count = ReadCount(fields, "layer_count");
  if (layer_count < 1 || layer_count > kMostLayers) {
    fields.Fail("layer_count", fmt::format("found {}, expected 1 to {}", layer_count, kMostLayers));
  }
  if (fields.Has("layer_shapes")) return LayerShapesFromJson(fields, "layer_shapes", layer_count);
  const LayerShape first{.kv_heads = fields.Integer("kv_heads"),
                         .key_head_dim = fields.Integer("head_dim"),
                         .value_head_dim = fields.Integer("head_dim")};
  return std::vector<LayerShape>(layer_count, first);
}

template <typename T>
void Compare(std::string_view name, const T& stored, const T& wanted,
             std::vector<std::string>& differences) {
  if (stored != wanted)
    differences.push_back(fmt::format("{}: found {} there, expected {}", name, stored, wanted));
}

}  // namespace

Json ToJson(const Provenance& provenance) {
  Json json = {{"version", provenance.version},
               {"model", provenance.model},
               {"model_hash", provenance.model_hash},
               {"prompts", provenance.prompts},
               {"prompts_hash", provenance.prompts_hash},
               {"prompt_count", provenance.prompt_count},
               {"token_count", provenance.token_count},
               {"target", provenance.target},
               {"device", provenance.device},
               {"dtype", provenance.dtype},
               {"prefill", provenance.prefill},
               {"seed", provenance.seed},
               {"context", provenance.context},
               {"layer_count", provenance.layer_count()},
               {"layer_shapes", ToJson(provenance.layers)}};
  // What is as it is in most runs is left out.
  if (!provenance.prompt_template.empty()) json["prompt_template"] = provenance.prompt_template;
  if (provenance.scales != CacheScales::kCalibrated) {
    json["scales"] = WordOf(kCacheScaleWords, provenance.scales);
  }
  if (provenance.kernels != KernelChoice::kAll) {
    json["kernels"] = WordOf(kKernelWords, provenance.kernels);
  }
  if (provenance.module_prefix != Provenance{}.module_prefix) {
    json["module_prefix"] = provenance.module_prefix;
  }
  if (provenance.noise_floor) json["noise_floor"] = *provenance.noise_floor;
  return json;
}

Provenance ProvenanceFromJson(JsonFields fields) {
  constexpr double kMostNoise = 1e6;  // nats per token: more than rounding makes of any score
  Provenance provenance;
  provenance.version = fields.String("version");
  provenance.model = fields.String("model");
  provenance.model_hash = fields.String("model_hash");
  provenance.prompts = fields.Strings("prompts");
  provenance.prompts_hash = fields.String("prompts_hash");
  provenance.prompt_count = fields.IntegerFrom("prompt_count", 0);
  provenance.token_count = fields.IntegerFrom("token_count", 0);
  provenance.target = fields.String("target");
  provenance.device = fields.String("device");
  provenance.dtype = fields.String("dtype");
  provenance.prefill = fields.String("prefill");
  provenance.seed = fields.Unsigned("seed");
  provenance.context = fields.IntegerFrom("context", 1);
  provenance.layers = ReadLayers(fields);
  if (fields.Has("prompt_template")) {
    provenance.prompt_template = fields.String("prompt_template");
  }
  if (fields.Has("scales")) {
    provenance.scales = ValueOf(kCacheScaleWords, fields.String("scales"), "scales");
  }
  if (fields.Has("kernels")) {
    provenance.kernels = ValueOf(kKernelWords, fields.String("kernels"), "kernels");
  }
  if (fields.Has("module_prefix")) provenance.module_prefix = fields.String("module_prefix");
  if (fields.Has("noise_floor"))
    provenance.noise_floor = fields.NumberWithin("noise_floor", 0, kMostNoise);
  fields.RequireNoOthers();
  return provenance;
}

std::vector<std::string> ScoreDifferences(const Provenance& stored, const Provenance& wanted) {
  std::vector<std::string> differences;
  Compare("kvtune's version", stored.version, wanted.version, differences);
  // The hashes decide alone: paths may be spelled in another way, and sizes and counts follow from
  // the content.
  if (stored.model_hash != wanted.model_hash) {
    differences.push_back(fmt::format("--model: found the content {} ({}) there, expected {} ({})",
                                      stored.model_hash, stored.model, wanted.model_hash,
                                      wanted.model));
  }
  if (stored.prompts_hash != wanted.prompts_hash) {
    differences.push_back(
        fmt::format("--prompts, --max-prompts or --max-tokens: found {} prompts of {} tokens ({}) "
                    "there, expected {} of {} ({})",
                    stored.prompt_count, stored.token_count, fmt::join(stored.prompts, ", "),
                    wanted.prompt_count, wanted.token_count, fmt::join(wanted.prompts, ", ")));
  }
  Compare("--target", stored.target, wanted.target, differences);
  Compare("--device", stored.device, wanted.device, differences);
  Compare("--dtype", stored.dtype, wanted.dtype, differences);
  Compare("--prefill", stored.prefill, wanted.prefill, differences);
  Compare("--scales", WordOf(kCacheScaleWords, stored.scales),
          WordOf(kCacheScaleWords, wanted.scales), differences);
  return differences;
}

std::vector<std::string> Differences(const Provenance& stored, const Provenance& wanted) {
  std::vector<std::string> differences = ScoreDifferences(stored, wanted);
  Compare("--seed", stored.seed, wanted.seed, differences);
  Compare("--context", stored.context, wanted.context, differences);
  Compare("--kernels", WordOf(kKernelWords, stored.kernels), WordOf(kKernelWords, wanted.kernels),
          differences);
  return differences;
}

}  // namespace kvtune
