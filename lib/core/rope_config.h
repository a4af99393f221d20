// Rotary position embedding (arXiv 2104.09864) as config.json describes it.
#pragma once

#include <cstdint>

#include "lib/base/json_fields.h"

namespace kvtune {

// The scaled types as in transformers' modeling_rope_utils.py.
enum class RopeType { kDefault, kLlama3 };

struct RopeConfig {
  RopeType type = RopeType::kDefault;
  double theta = 10000;
  int64_t rotary_dim = 0;  // channels of a head that turn, from the first one on; even
  // kLlama3 only.
  double factor = 1;
  double low_freq_factor = 1;
  double high_freq_factor = 4;
  int64_t original_max_position_embeddings = 0;
};

// Reads both spellings of a whole config.json (rope_theta with rope_scaling, and rope_parameters).
// Throws Error for a type that is not known and for parameters that contradict each other.
RopeConfig ReadRope(JsonFields& config, int64_t head_dim);

}  // namespace kvtune
