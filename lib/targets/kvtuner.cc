// KVTuner's flexible cache in its per-token mode: every token of a KV head has its own scale and
// zero, and no token stays exact (github.com/cmd2001/KVTuner, FlexibleVanillaQuantizedCache with
// q_group_size -1).
#include <array>

#include "lib/targets/engine.h"
#include "lib/targets/kvtuner_yaml.h"

namespace kvtune {
namespace {

constexpr std::array kFormats = {KvFormatId::kInt8, KvFormatId::kInt4, KvFormatId::kInt2};

constexpr KvtunerCacheSettings kSettings = {
    .axis_key = 0, .axis_value = 0, .q_group_size = -1, .residual_length = 0};

std::string WriteYaml(const ScoredPlan& plan, const Provenance&, const Target&) {
  return WriteKvtunerYaml(plan, kSettings);
}

}  // namespace

Engine KvtunerEngine() {
  return {
      .target = {.name = "kvtuner",
                 .description = "KVTuner's cache, per token: a scale and zero a token and KV head",
                 .shape = {ShapeKind::kAnyPair, AllPairs(kFormats)},
                 .pairs = AllPairs(kFormats)},
      .exports = {{.summary = {"kvtuner", "YAML of per_layer_config_path"},
                   .words = "nbits_key, nbits_value",
                   .write = WriteYaml,
                   .recognizes = IsKvtunerYaml,
                   .read = ReadKvtunerYaml}},
  };
}

}  // namespace kvtune
