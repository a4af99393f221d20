// The YAML file that KVTuner reads through `per_layer_config_path`: a mapping from every layer's
// index to its bits.
//
//   0:
//     nbits_key: 8
//     nbits_value: 4
//   1: ...
//
// The file does not say whether the mode is per-token or KIVI. That is set where the cache is
// created, so the export names those settings in a comment.
#pragma once

#include <string>
#include <string_view>

#include "lib/targets/target.h"

namespace kvtune {

// The arguments of KVTuner's FlexibleQuantizedCacheConfig under which a plan was searched.
struct KvtunerCacheSettings {
  int axis_key = 0;
  int axis_value = 0;
  int q_group_size = -1;
  int residual_length = 0;
};

// The plan as such a file. REQUIRES: no side of any layer is exact, since KVTuner has no word for
// that.
std::string WriteKvtunerYaml(const ScoredPlan& plan, const KvtunerCacheSettings& settings);

// Whether the content is a mapping with entries that have nbits_key or nbits_value.
bool IsKvtunerYaml(std::string_view content);

// Reads what WriteKvtunerYaml writes, KVTuner's published presets and the same mapping as a Python
// dict (`per_layer_config = {0: {'nbits_key': 8, ...}, ...}`), with the formats of `target`. Throws
// Error for what is not YAML, for a layer that is missing, that is there twice or that the model
// does not have, for other keys and for other bits.
PrecisionPlan ReadKvtunerYaml(std::string_view content, const std::string& source,
                              size_t layer_count, const Target& target);

}  // namespace kvtune
