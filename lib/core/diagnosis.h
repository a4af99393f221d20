// Which layers' keys need more bits than the others', and what was measured that says so.
#pragma once

#include <cstddef>
#include <optional>
#include <string_view>
#include <vector>

#include "lib/base/json_fields.h"
#include "lib/core/kv_format.h"
#include "lib/core/provenance.h"

namespace kvtune {

// What stands out in a fragile layer against the others.
enum class FragilityCause {
  kKeyError,     // the error of its keys
  kOutputError,  // the error of its attention output
  kKeyOutliers,  // the size of its largest key channel
  kKeyBias,      // the norm of its k_proj bias
};

// "key error", "attention output error", "key outlier channels", "key bias"
std::string_view CauseName(FragilityCause cause);

// What was measured of one layer's keys, at the diagnosis' safe key format.
struct KeyMeasurements {
  double output_error = 0;       // e_o with the target's best values, of the worst KV head
  double key_error = 0;          // e_k_median (lib/core/sensitivity.h), of the worst KV head
  double key_outlier_ratio = 0;  // as in the sensitivity table
  double key_bias_norm = 0;
};

struct FragileLayer {
  size_t index = 0;
  // The cheapest key format under which this layer loses no more than an ordinary layer loses under
  // the safe one; exact when no format of the target does.
  KvFormatId needed_key = KvFormatId::kExact;
  KeyMeasurements measured;
  std::vector<FragilityCause> causes;  // at least one
};

struct Diagnosis {
  Provenance run;
  // The cheapest key format that the ordinary layers bear. Empty where the target quantizes no
  // keys.
  std::optional<KvFormatId> safe_key;
  // Whether they really bear it: even the target's best format can be too coarse for a model.
  bool is_safe = false;
  KeyMeasurements ordinary_median;    // of the layers that are not fragile, each number by itself
  double ordinary_output_error = 0;   // e_o of the worst of them
  std::vector<FragileLayer> fragile;  // by index
};

// There is no reader: `Diagnose` makes it again from the sensitivity table.
Json ToJson(const Diagnosis& diagnosis);

}  // namespace kvtune
