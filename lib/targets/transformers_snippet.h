// The Python that builds transformers' Cache with a quantized layer of its own bits for every
// decoder layer (transformers/cache_utils.py). Its layers have one bit width; the snippet gives
// keys and values their own, through the axis, which is all that tells a layer's _quantize the side
// that it is called for.
#pragma once

#include <string>
#include <string_view>

#include "lib/targets/target.h"

namespace kvtune {

// A class of quantized layers: which axis it quantizes along, and the statement that makes
// `axis.bits` its bits.
struct TransformersLayer {
  std::string_view name;
  int axis = 0;
  std::string_view set_bits;
};

std::string WriteTransformersSnippet(const ScoredPlan& plan, const TransformersLayer& layer);

}  // namespace kvtune
