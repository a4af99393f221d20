// A fork of SGLang in which every layer takes its own type.
#include <fmt/format.h>
#include <yaml-cpp/yaml.h>

#include <array>

#include "lib/base/error.h"
#include "lib/targets/engine.h"
#include "lib/targets/plan_text.h"
#include "lib/targets/sglang_dtypes.h"
#include "lib/targets/yaml_text.h"

namespace kvtune {
namespace {

// The types in the spelling of the fork.
constexpr std::array<FormatWord, 4> kForkWords = {{{"bf16", KvFormatId::kExact},
                                                   {"fp8_e4m3", KvFormatId::kFp8E4m3},
                                                   {"fp8_e5m2", KvFormatId::kFp8E5m2},
                                                   {"fp4_e2m1", KvFormatId::kSglangFp4}}};

constexpr const char* kMap = "kv_cache_per_layer_dtype";

std::string WriteMap(const ScoredPlan& plan, const Provenance&, const Target&) {
  std::string entries;
  for (size_t layer = 0; layer < plan.plan.layers.size(); ++layer) {
    entries += fmt::format("{}{}: {}", layer == 0 ? "" : ", ", layer,
                           WordOf(kForkWords, plan.plan.layers[layer].key));
  }
  return fmt::format("{}: {{{}}}\n", kMap, entries);
}

bool IsMap(std::string_view content) { return IsYamlWith(content, kMap); }

PrecisionPlan ReadMap(std::string_view content, const std::string& source, size_t layer_count,
                      const Target&) {
  const std::string where = fmt::format("{}: {}", source, kMap);
  const YAML::Node map = LoadYaml(content, source)[kMap];
  if (!map.IsMap() || map.size() != layer_count) {
    throw Error(fmt::format("{}: found {} layers, expected {}", where, map.size(), layer_count));
  }
  PrecisionPlan plan = PrecisionPlan::Uniform(kExactPair, layer_count);
  std::vector<bool> seen(layer_count, false);
  for (const auto& entry : map) {
    const size_t layer = LayerIndexOf(entry.first.Scalar(), layer_count, where);
    if (seen[layer]) throw Error(fmt::format("{}: found layer {} twice", where, layer));
    seen[layer] = true;
    const KvFormatId format =
        FormatOfSglangWord(entry.second.Scalar(), fmt::format("{}: layer {}", where, layer));
    plan.layers[layer] = {format, format};
  }
  return plan;
}

}  // namespace

Engine SglangPerLayerEngine() {
  return {
      .target = {.name = "sglang-per-layer",
                 .description = "SGLang with one type a layer",
                 .shape = {ShapeKind::kAnyPair, AndExact(TiedPairs(kSglangFormats))},
                 .pairs = TiedPairs(kSglangFormats),
                 .pending = "types by layer, the syntax of a fork"},
      .exports = {{.summary = {"sglang-per-layer", "YAML of the fork's options"},
                   .words = "kv_cache_per_layer_dtype",
                   .write = WriteMap,
                   .recognizes = IsMap,
                   .read = ReadMap}},
  };
}

}  // namespace kvtune
