// The Python code that builds a transformers Cache in which every decoder layer has a quantized
// cache layer with its own bits (transformers/cache_utils.py). A cache layer of transformers has
// one bit width for both sides. The snippet gives keys and values bits of their own through the
// axis argument, because nothing else tells a layer's _quantize which side it is called for.
#pragma once

#include <string>
#include <string_view>

#include "lib/targets/target.h"

namespace kvtune {

// A transformers class of quantized cache layers: its name, the axis that it quantizes along, and
// the Python statement that makes it quantize to `axis.bits` bits. The library may only take
// numbers of tokens that are a multiple of `tokens_multiple`; the snippet fills up others.
struct TransformersLayer {
  std::string_view name;
  int axis = 0;
  std::string_view set_bits;
  int tokens_multiple = 1;
};

std::string WriteTransformersSnippet(const ScoredPlan& plan, const TransformersLayer& layer);

}  // namespace kvtune
