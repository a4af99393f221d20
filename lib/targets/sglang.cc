// SGLang: one type for all layers; a fork takes one a layer.
#include <fmt/format.h>
#include <yaml-cpp/yaml.h>

#include <array>

#include "lib/base/error.h"
#include "lib/targets/engine.h"
#include "lib/targets/plan_text.h"
#include "lib/targets/yaml_text.h"

namespace kvtune {
namespace {

constexpr std::array kFormats = {KvFormatId::kFp8E4m3, KvFormatId::kFp8E5m2,
                                 KvFormatId::kSglangFp4};
// The choices of server_args (sglang/srt/arg_groups/fields/model.py); fp4_e2m1 is the name of
// fp4_mx_block16 in older releases.
constexpr std::array<FormatWord, 7> kWords = {{{"bf16", KvFormatId::kExact},
                                               {"bfloat16", KvFormatId::kExact},
                                               {"auto", KvFormatId::kExact},
                                               {"fp8_e4m3", KvFormatId::kFp8E4m3},
                                               {"fp8_e5m2", KvFormatId::kFp8E5m2},
                                               {"fp4_mx_block16", KvFormatId::kSglangFp4},
                                               {"fp4_e2m1", KvFormatId::kSglangFp4}}};
constexpr std::array<FormatWord, 4> kForkWords = {{{"bf16", KvFormatId::kExact},
                                                   {"fp8_e4m3", KvFormatId::kFp8E4m3},
                                                   {"fp8_e5m2", KvFormatId::kFp8E5m2},
                                                   {"fp4_e2m1", KvFormatId::kSglangFp4}}};

constexpr const char* kFlag = "--kv-cache-dtype";
constexpr const char* kMap = "kv_cache_per_layer_dtype";

KvFormatId FormatOfDtype(std::string_view word, const std::string& where) {
  if (const auto format = FormatOfWord(kWords, word)) return *format;
  throw Error(fmt::format("{}: found {}, expected one of {}", where, word, WordsOf(kWords)));
}

std::string WriteCommandLine(const ScoredPlan& plan, const Provenance&, const Target&) {
  const KvFormatId format = plan.plan.layers.front().key;
  return fmt::format("{} {}\n", kFlag, WordOf(kWords, format));
}

bool IsCommandLine(std::string_view content) { return CommandLine(content, "").Has(kFlag); }

PrecisionPlan ReadCommandLine(std::string_view content, const std::string& source,
                              size_t layer_count, const Target&) {
  const std::string dtype = *CommandLine(content, source).WordAfter(kFlag);
  const KvFormatId format = FormatOfDtype(dtype, fmt::format("{}: {}", source, kFlag));
  return PrecisionPlan::Uniform({format, format}, layer_count);
}

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
        FormatOfDtype(entry.second.Scalar(), fmt::format("{}: layer {}", where, layer));
    plan.layers[layer] = {format, format};
  }
  return plan;
}

}  // namespace

Engine SglangEngine() {
  return {
      .target = {.name = "sglang",
                 .description = "SGLang: one type for all layers",
                 .shape = {ShapeKind::kOnePair, AndExact(TiedPairs(kFormats))},
                 .pairs = TiedPairs(kFormats)},
      .exports = {{.summary = {"sglang", "arguments of sglang.launch_server"},
                   .write = WriteCommandLine,
                   .recognizes = IsCommandLine,
                   .read = ReadCommandLine}},
  };
}

Engine SglangPerLayerEngine() {
  return {
      .target = {.name = "sglang-per-layer",
                 .description = "SGLang with one type a layer",
                 .shape = {ShapeKind::kAnyPair, AndExact(TiedPairs(kFormats))},
                 .pairs = TiedPairs(kFormats),
                 .pending = "types by layer, the syntax of a fork"},
      .exports = {{.summary = {"sglang-per-layer", "YAML of the fork's options"},
                   .write = WriteMap,
                   .recognizes = IsMap,
                   .read = ReadMap}},
  };
}

}  // namespace kvtune
