// The diagnosis of a model: which layers' keys need more bits than the keys of the other layers,
// and the measurements that show it.
#pragma once

#include <cstddef>
#include <optional>
#include <string_view>
#include <vector>

#include "lib/base/json_fields.h"
#include "lib/core/kv_format.h"
#include "lib/core/provenance.h"

namespace kvtune {

// What stands out in a fragile layer when it is compared with the other layers.
enum class FragilityCause {
  kKeyError,     // the error of its keys
  kOutputError,  // the error of its attention output
  kKeyOutliers,  // the size of its largest key channel
  kKeyBias,      // the norm of its k_proj bias
};

// Returns "key error", "attention output error", "key outlier channels" or "key bias".
std::string_view CauseName(FragilityCause cause);

// What was measured of the keys of one layer when they are stored in the safe key format of the
// diagnosis.
struct KeyMeasurements {
  // e_o of the safe key format together with the target's best value format, of the worst KV head.
  double output_error = 0;
  double key_error = 0;          // e_k_median (lib/core/sensitivity.h), of the worst KV head
  double key_outlier_ratio = 0;  // as in lib/core/sensitivity.h
  double key_bias_norm = 0;      // L2 norm of the k_proj bias, 0 without one
};

struct FragileLayer {
  size_t index = 0;
  // The cheapest key format under which this layer loses no more than an ordinary layer loses under
  // the safe format. It is the exact format when no format of the target is good enough.
  KvFormatId needed_key = KvFormatId::kExact;
  KeyMeasurements measured;
  std::vector<FragilityCause> causes;  // never empty
};

struct Diagnosis {
  Provenance run;
  // The cheapest key format that the ordinary layers can bear. Empty when the target quantizes no
  // keys.
  std::optional<KvFormatId> safe_key;
  // Whether the ordinary layers really bear it. They may not: even the target's best format can be
  // too coarse for a model.
  bool is_safe = false;
  // The median over the layers that are not fragile, taken for each number by itself.
  KeyMeasurements ordinary_median;
  double ordinary_output_error = 0;   // e_o of the worst ordinary layer
  std::vector<FragileLayer> fragile;  // in ascending order of index
};

// Nothing reads a diagnosis back: `Diagnose` computes it again from the sensitivity table.
Json ToJson(const Diagnosis& diagnosis);

}  // namespace kvtune
