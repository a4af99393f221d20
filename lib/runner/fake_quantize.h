// Fake quantization of keys and values on any device.
#pragma once

#include <span>

#include "lib/core/kv_format.h"
#include "lib/runner/torch.h"

namespace kvtune {

// One side of a layer's cache, as far as formats need to know it.
struct LayerSide {
  KvSide side = KvSide::kKey;
  // The largest magnitude of every KV head, for formats with calibrated scales; ignored by others.
  std::span<const float> head_maxima = {};
  // See Family::gguf_rotary_neighbours; for formats with keys in ChannelOrder::kOfGguf.
  bool gguf_rotary_neighbours = false;
};

// What the cache returns for `x` once every full group is flushed; tokens that fill no group stay
// as they are. x: [..., kv_heads, tokens, head_dim], contiguous; same shape, type and device out.
// The exact format returns x itself.
//
// KVTuner's integers are computed in x's own type, as KVTuner does; all other formats in float32,
// as the engines' kernels do, and rounded to x's type once.
//
// Throws Error where the format needs head_maxima and there are none.
at::Tensor FakeQuantize(const at::Tensor& x, const KvFormat& format, const LayerSide& side);

}  // namespace kvtune
