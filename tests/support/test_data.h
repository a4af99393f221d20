// Small artifacts that tests start from.
#pragma once

#include <cstdint>
#include <vector>

#include "lib/base/random.h"
#include "lib/core/candidates.h"
#include "lib/core/layer_groups.h"
#include "lib/core/precision_plan.h"
#include "lib/core/provenance.h"
#include "lib/core/sensitivity.h"

namespace kvtune {

inline constexpr PrecisionPair kKV8{KvFormatId::kInt8, KvFormatId::kInt8};
inline constexpr PrecisionPair kK8V4{KvFormatId::kInt8, KvFormatId::kInt4};
inline constexpr PrecisionPair kK8V2{KvFormatId::kInt8, KvFormatId::kInt2};
inline constexpr PrecisionPair kK4V8{KvFormatId::kInt4, KvFormatId::kInt8};
inline constexpr PrecisionPair kKV4{KvFormatId::kInt4, KvFormatId::kInt4};
inline constexpr PrecisionPair kK4V2{KvFormatId::kInt4, KvFormatId::kInt2};
inline constexpr PrecisionPair kK2V8{KvFormatId::kInt2, KvFormatId::kInt8};
inline constexpr PrecisionPair kK2V4{KvFormatId::kInt2, KvFormatId::kInt4};
inline constexpr PrecisionPair kKV2{KvFormatId::kInt2, KvFormatId::kInt2};
inline constexpr PrecisionPair kKiviKV4{KvFormatId::kKiviInt4, KvFormatId::kKiviInt4};

inline std::vector<PrecisionPair> NinePairs() {
  return {kKV8, kK8V4, kK8V2, kK4V8, kKV4, kK4V2, kK2V8, kK2V4, kKV2};
}

inline Provenance TestRun(int64_t layer_count) {
  Provenance run;
  run.version = "0.1.0";
  run.model = "models/small";
  run.model_hash = "xxh3:00000000000000000000000000000001";
  run.prompts = {"prompts.jsonl"};
  run.prompts_hash = "xxh3:00000000000000000000000000000002";
  run.prompt_count = 4;
  run.token_count = 1000;
  run.target = "kvtuner";
  run.device = "cpu";
  run.dtype = "float32";
  run.prefill = "quantized";
  run.seed = UINT64_MAX;  // does not fit a signed integer
  run.context = 8192;
  run.layers.assign(static_cast<size_t>(layer_count),
                    {.kv_heads = 2, .key_head_dim = 64, .value_head_dim = 64});
  return run;
}

// A table with the given e_o, which has a row for each layer and a column for each pair. Other
// errors are zero, and bits are nominal.
inline SensitivityTable TableOf(std::vector<PrecisionPair> pairs,
                                const std::vector<std::vector<double>>& e_o) {
  SensitivityTable table;
  table.run = TestRun(static_cast<int64_t>(e_o.size()));
  table.pairs = std::move(pairs);
  for (size_t layer = 0; layer < e_o.size(); ++layer) {
    LayerSensitivity sensitivity;
    sensitivity.index = layer;
    for (size_t i = 0; i < table.pairs.size(); ++i) {
      const PrecisionPair pair = table.pairs[i];
      PairErrors errors;
      errors.e_o = e_o[layer][i];
      errors.bits = (FormatOf(pair.key).bits + FormatOf(pair.value).bits) / 2.0;
      sensitivity.errors.push_back(errors);
    }
    table.layers.push_back(sensitivity);
  }
  return table;
}

// A table with every field filled, so that a round trip that loses one is seen.
inline SensitivityTable RandomTable(Random& random, size_t layer_count) {
  SensitivityTable table;
  table.run = TestRun(static_cast<int64_t>(layer_count));
  table.pairs = NinePairs();
  for (size_t layer = 0; layer < layer_count; ++layer) {
    LayerSensitivity sensitivity;
    sensitivity.index = layer;
    for (size_t i = 0; i < table.pairs.size(); ++i) {
      PairErrors errors;
      errors.e_k = random.Unit();
      errors.e_v = random.Unit() * 1e-9;
      errors.e_a = random.Unit() * 1e12;
      errors.e_o = random.Unit();
      errors.bits = 2 + 7 * random.Unit();
      errors.kl = random.Unit();
      errors.head_e_k = {random.Unit(), random.Unit()};
      errors.head_e_k_median = {random.Unit(), random.Unit()};
      errors.head_e_v = {random.Unit(), random.Unit()};
      errors.head_e_o = {random.Unit(), random.Unit()};
      sensitivity.errors.push_back(errors);
    }
    sensitivity.key_outlier_ratio = random.Unit() * 100;
    sensitivity.key_bias_norm = random.Unit() * 1000;
    sensitivity.maxima = {{static_cast<float>(random.Unit()), 30.25f},
                          {static_cast<float>(random.Unit()), 1e-7f}};
    sensitivity.attention_concentration = {random.Unit(), random.Unit(), random.Unit()};
    table.layers.push_back(sensitivity);
  }
  return table;
}

}  // namespace kvtune
