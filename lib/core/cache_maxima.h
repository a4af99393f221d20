// The largest keys and values of a model on its calibration prompts: what calibrated scales are
// made from.
#pragma once

#include <span>
#include <vector>

#include "lib/core/kv_format.h"

namespace kvtune {

// Of one layer; max |x| over all tokens and channels of each KV head.
struct LayerMaxima {
  std::vector<float> key;
  std::vector<float> value;

  std::span<const float> side(KvSide side) const { return side == KvSide::kKey ? key : value; }
  friend bool operator==(const LayerMaxima&, const LayerMaxima&) = default;
};

// The largest of all KV heads.
float LargestOf(std::span<const float> head_maxima);

// The scales that the format has in a layer with these maxima, one for each KV head. They are all
// the same: one scale serves the whole side of the layer (k_scale or v_scale of a checkpoint).
// REQUIRES: the format's scales are calibrated, head_maxima is not empty.
std::vector<float> CalibratedScales(const KvFormat& format, std::span<const float> head_maxima);

}  // namespace kvtune
