// The scales of the KV cache that a checkpoint stores: k_scale and v_scale of FP8 caches.
#pragma once

#include <vector>

#include "lib/core/cache_maxima.h"
#include "lib/io/checkpoint.h"

namespace kvtune {

// Returns the stored scales of every layer; the maxima stay empty. The names are those of ModelOpt
// (k_proj.k_scale, v_proj.v_scale), compressed-tensors (k_scale, v_scale of the attention), Quark
// (k_proj.output_scale, v_proj.output_scale) and the older kv_scale, which serves both sides. A
// scale is one number, or one for each KV head.
//
// Throws Error where a layer lacks a scale or has one that is not a positive number, and names all
// such layers: engines take 1 there without a word.
std::vector<LayerMaxima> ReadStoredScales(const Checkpoint& checkpoint);

}  // namespace kvtune
