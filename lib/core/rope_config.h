// Rotary position embedding (arXiv 2104.09864) as config.json describes it.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "lib/base/json_fields.h"

namespace kvtune {

// How frequencies are scaled, as in transformers' modeling_rope_utils.py. Its "dynamic" type
// changes them only beyond max_position_embeddings, where kvtune runs no prompt: it is kDefault
// here.
enum class RopeType { kDefault, kLinear, kLlama3, kYarn, kLongRope };

struct RopeConfig {
  RopeType type = RopeType::kDefault;
  double theta = 10000;
  int64_t rotary_dim = 0;       // channels of a head that turn, from the first one on; even
  double attention_factor = 1;  // of cosines and sines
  // The others belong to some of the types only.
  double factor = 1;
  int64_t original_max_position_embeddings = 0;
  double low_freq_factor = 1;   // kLlama3
  double high_freq_factor = 4;  // kLlama3
  double beta_fast = 32;        // kYarn
  double beta_slow = 1;         // kYarn
  bool truncated = true;        // kYarn: the correction range ends at whole channels
  // kLongRope, rotary_dim / 2 each: for prompts of up to original_max_position_embeddings tokens,
  // and for longer ones.
  std::vector<double> short_factor;
  std::vector<double> long_factor;

  friend bool operator==(const RopeConfig&, const RopeConfig&) = default;
};

enum class RotaryPart {
  kWhole,    // every channel of a head turns
  kPartial,  // partial_rotary_factor says how many
};

// What a model has that its rotary fields need.
struct RopeContext {
  double default_theta = 10000;
  double default_rotary_part = 1;  // of the channels, where the file has no partial_rotary_factor
  int64_t head_dim = 0;
  int64_t max_position_embeddings = 0;
  RotaryPart part = RotaryPart::kWhole;
  bool has_sections = false;  // the type "mrope", which is "default" for text
  bool has_alpha = false;     // the type "dynamic" with "alpha", a factor of the base
};

// Reads both spellings of a whole config.json (rope_theta with rope_scaling, and rope_parameters).
// As in transformers, rope_scaling takes the place of all of rope_parameters where a file has both:
// the base is then its own, else rope_theta, else the default, never that of rope_parameters.
// Throws Error for a type that is not known and for parameters that contradict each other.
RopeConfig ReadRope(JsonFields& config, const RopeContext& context);

// The two of a model whose sliding layers turn by a base of their own (Gemma 3): rope_theta with
// rope_scaling and rope_local_base_freq, or rope_parameters by layer type. rope_scaling is of the
// full layers alone and comes before their parameters.
struct LayerTypeRopes {
  RopeConfig full;
  RopeConfig sliding;
};
struct LocalRopeContext {
  double default_theta = 10000;
  bool has_own_base = true;  // rope_local_base_freq
};
LayerTypeRopes ReadLayerTypeRopes(JsonFields& config, const RopeContext& context,
                                  const LocalRopeContext& local_context);

}  // namespace kvtune
