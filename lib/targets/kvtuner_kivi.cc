// KVTuner's flexible cache in its KIVI mode: keys are quantized in groups of 32 tokens of a
// channel, values in groups of 32 channels of a token, and a residual window of 32 tokens stays
// exact (arXiv 2402.02750).
#include <array>

#include "lib/targets/engine.h"
#include "lib/targets/kvtuner_yaml.h"

namespace kvtune {
namespace {

constexpr std::array kFormats = {KvFormatId::kKiviInt8, KvFormatId::kKiviInt4,
                                 KvFormatId::kKiviInt2};

constexpr KvtunerCacheSettings kSettings = {
    .axis_key = 1, .axis_value = 0, .q_group_size = 32, .residual_length = 32};

std::string WriteYaml(const ScoredPlan& plan, const Provenance&, const Target&) {
  return WriteKvtunerYaml(plan, kSettings);
}

}  // namespace

Engine KvtunerKiviEngine() {
  return {
      .target = {.name = "kvtuner-kivi",
                 .description = "KVTuner's cache, KIVI: keys per channel, newest 32 tokens exact",
                 .shape = {ShapeKind::kAnyPair, AllPairs(kFormats)},
                 .pairs = AllPairs(kFormats)},
      .exports = {{.summary = {"kvtuner", "YAML of per_layer_config_path"},
                   .words = "nbits_key, nbits_value",
                   .write = WriteYaml,
                   .recognizes = IsKvtunerYaml,
                   .read = ReadKvtunerYaml}},
      .why_not_stored = nullptr,  // any head fits, since the last group may be shorter
  };
}

}  // namespace kvtune
