// Fake quantization of keys and values on any device.
#pragma once

#include <span>

#include "lib/core/kv_format.h"
#include "lib/runner/torch.h"

namespace kvtune {

// One side of a layer's cache, with what formats need to know about it.
struct LayerSide {
  KvSide side = KvSide::kKey;
  // The largest magnitude of every KV head. Only formats with calibrated scales read it.
  std::span<const float> head_maxima = {};
  // See Family::gguf_rotary_neighbours. Only formats whose keys are in ChannelOrder::kOfGguf read
  // it.
  bool gguf_rotary_neighbours = false;
  // The checkpoint's own scale of every KV head, where it is to be used in place of the maxima.
  std::span<const float> stored_scales = {};
};

// Returns what the cache returns for `x` once every full group is flushed; tokens that fill no
// group stay as they are. The exact format returns x itself.
// x: [..., kv_heads, tokens, head_dim], contiguous -> the same shape, type and device
//
// KVTuner's integers are computed in the type of x, as KVTuner does. All other formats are computed
// in float32, as the engines' kernels do, and the result is rounded to the type of x once.
//
// Throws Error when the format needs head_maxima or stored_scales and there are none.
at::Tensor FakeQuantize(const at::Tensor& x, const KvFormat& format, const LayerSide& side);

// The same into memory that is there already, without a copy where a CUDA kernel of ours does the
// work. out: like x, contiguous, and not x itself
void FakeQuantizeInto(const at::Tensor& x, const KvFormat& format, const LayerSide& side,
                      const at::Tensor& out);

}  // namespace kvtune
