// How much each precision pair disturbs each layer's attention, measured layer by layer.
//
// Errors are isolated: keys, values and queries come from the exact model and only this layer is
// quantized, so nothing accumulates (KVTuner, section 3.2 and appendix B). They screen pairs and
// shape groups; they do not rank plans, which only a joint score does.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "lib/base/json_fields.h"
#include "lib/base/words.h"
#include "lib/core/cache_maxima.h"
#include "lib/core/precision_plan.h"
#include "lib/core/provenance.h"

namespace kvtune {

// The error that screens pairs: of the attention output (e_o), or the forward KL of the logits with
// one layer quantized.
enum class ScreeningError { kAttentionOutput, kIsolatedKl };
inline constexpr Word<ScreeningError> kScreeningErrorWords[] = {
    {"eo", ScreeningError::kAttentionOutput}, {"kl", ScreeningError::kIsolatedKl}};

struct PairErrors {
  double e_k = 0;   // sum|K-K^| / sum|K|, over the cache as it stands after each prompt
  double e_v = 0;   // sum|V-V^| / sum|V|
  double e_a = 0;   // mean |a-a^| over the softmax weights a of all (query, visible key) pairs
  double e_o = 0;   // sum|o-o^| / sum|o|, o = attention output before the output projection
  double bits = 0;  // effective bits, the mean of both sides
  std::optional<double> kl;      // isolated forward KL of the logits, nats per token
  std::vector<double> head_e_k;  // the same per KV head
  // Per KV head: sum|K-K^| / sum|K| of each key channel, the median over channels. A few large
  // channels that take the resolution of all others show here; in e_k their own size hides it.
  std::vector<double> head_e_k_median;
  std::vector<double> head_e_v;
  std::vector<double> head_e_o;  // over the query heads that share the KV head
};

struct LayerSensitivity {
  size_t index = 0;
  std::vector<PairErrors> errors;  // in the order of SensitivityTable::pairs
  // max |K| over a channel, divided by the median over channels, of the channel where it is
  // largest.
  double key_outlier_ratio = 0;
  LayerMaxima maxima;        // of the exact keys and values: calibrated scales are made from them
  double key_bias_norm = 0;  // L2 norm of the k_proj bias, 0 without one
  // Per query head: mean over queries of the largest softmax weight, in (0, 1]. Concentrated heads
  // are robust (KVTuner, lemma 1).
  std::vector<double> attention_concentration;
};

struct SensitivityTable {
  Provenance run;
  std::vector<PrecisionPair> pairs;
  std::vector<LayerSensitivity> layers;
};

Json ToJson(const SensitivityTable& table);
// Throws Error naming field and layer. `source` names the file in messages.
SensitivityTable SensitivityTableFromJson(const Json& json, const std::string& source);

}  // namespace kvtune
