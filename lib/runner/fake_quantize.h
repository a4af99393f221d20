// Fake quantization of keys and values on any device.
#pragma once

#include <span>

#include "lib/core/kv_format.h"
#include "lib/runner/torch.h"

namespace kvtune {

// What the cache returns for `x` once every full group is flushed; tokens that fill no group stay as
// they are. x: [..., kv_heads, tokens, head_dim], contiguous; same shape, type and device out. The
// exact format returns x itself.
//
// KVTuner's integers are computed in x's own type, as KVTuner does; all other formats in float32, as
// the engines' kernels do, and rounded to x's type once.
//
// head_maxima: the largest magnitude of every KV head in this layer, which formats with calibrated
// scales need; ignored by others. Throws Error where it is needed and empty.
at::Tensor FakeQuantize(const at::Tensor& x, const KvFormat& format, KvSide side,
                        std::span<const float> head_maxima = {});

}  // namespace kvtune
