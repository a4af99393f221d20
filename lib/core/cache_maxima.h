// The largest magnitudes of a model's keys and values on its calibration prompts, from which
// calibrated scales are computed, and scales that a checkpoint stores itself.
#pragma once

#include <span>
#include <vector>

#include "lib/core/kv_format.h"

namespace kvtune {

// Where static scales come from: from the largest magnitudes on the calibration prompts, or from
// the checkpoint, whose scales an engine uses where there are some.
enum class CacheScales { kCalibrated, kCheckpoint };

// The maxima of one layer: for each KV head, max |x| over all tokens and channels.
struct LayerMaxima {
  std::vector<float> key;
  std::vector<float> value;
  // The scales that the checkpoint stores, one for each KV head. Where there are some, they are
  // used in place of scales from the maxima.
  std::vector<float> stored_key_scales = {};
  std::vector<float> stored_value_scales = {};

  std::span<const float> side(KvSide side) const { return side == KvSide::kKey ? key : value; }
  std::span<const float> stored_scales(KvSide side) const {
    return side == KvSide::kKey ? stored_key_scales : stored_value_scales;
  }
  friend bool operator==(const LayerMaxima&, const LayerMaxima&) = default;
};

// Returns the largest maximum of all KV heads.
float LargestOf(std::span<const float> head_maxima);

// Returns the scales that the format has in a layer with these maxima, one for each KV head. They
// are all the same: one scale serves the whole side of the layer (k_scale or v_scale of a
// checkpoint). REQUIRES: the format's scales are calibrated, head_maxima is not empty.
std::vector<float> CalibratedScales(const KvFormat& format, std::span<const float> head_maxima);

}  // namespace kvtune
