// The sensitivity table: how much each precision pair disturbs the attention of each layer,
// measured layer by layer.
//
// Errors are isolated: keys, values and queries come from the exact model and only one layer is
// quantized, so nothing accumulates (KVTuner, section 3.2 and appendix B). They serve to screen
// pairs and to shape groups. They do not rank plans, since only a joint score can do that.
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

// The error by which pairs are screened: the error of the attention output (e_o), or the forward KL
// of the logits with one layer quantized.
enum class ScreeningError { kAttentionOutput, kIsolatedKl };
inline constexpr Word<ScreeningError> kScreeningErrorWords[] = {
    {"eo", ScreeningError::kAttentionOutput}, {"kl", ScreeningError::kIsolatedKl}};

struct PairErrors {
  // sum|K-K^| / sum|K|, over the cache as it stands after each prompt.
  double e_k = 0;
  double e_v = 0;  // sum|V-V^| / sum|V|
  // mean |a-a^| over the softmax weights a of all (query, visible key) pairs.
  double e_a = 0;
  // sum|o-o^| / sum|o|, where o is the attention output before the output projection.
  double e_o = 0;
  double bits = 0;               // effective bits, the mean of both sides
  std::optional<double> kl;      // isolated forward KL of the logits, nats per token
  std::vector<double> head_e_k;  // e_k of each KV head
  // For each KV head, the median over its key channels of each channel's sum|K-K^| / sum|K|. It
  // shows the harm when a few large channels take the resolution away from all others; in e_k the
  // size of these large channels hides it.
  std::vector<double> head_e_k_median;
  std::vector<double> head_e_v;  // e_v of each KV head
  std::vector<double> head_e_o;  // e_o of each KV head, over the query heads that share it
};

struct LayerSensitivity {
  size_t index = 0;
  std::vector<PairErrors> errors;  // in the order of SensitivityTable::pairs
  // How far the largest key channel stands out: max |K| over the channel, divided by the median of
  // this maximum over channels.
  double key_outlier_ratio = 0;
  // The maxima of the exact keys and values, from which calibrated scales are computed.
  LayerMaxima maxima;
  double key_bias_norm = 0;  // L2 norm of the k_proj bias, 0 without one
  // For each query head, the mean over queries of the largest softmax weight, in (0, 1]. Heads with
  // concentrated attention are robust (KVTuner, lemma 1).
  std::vector<double> attention_concentration;
};

struct SensitivityTable {
  Provenance run;
  std::vector<PrecisionPair> pairs;
  std::vector<LayerSensitivity> layers;
};

Json ToJson(const SensitivityTable& table);
// Throws Error naming the field and the layer. `source` names the file in messages.
SensitivityTable SensitivityTableFromJson(const Json& json, const std::string& source);

}  // namespace kvtune
