// Fake quantization of keys and values on any device.
#pragma once

#include "lib/core/kv_format.h"
#include "lib/runner/torch.h"

namespace kvtune {

// What the cache returns for `x` once every full group is flushed; tokens that fill no group stay as
// they are. x: [..., tokens, head_dim], contiguous; same shape, type and device out. The exact format
// returns x itself. Arithmetic is in x's own type, as the engine does it.
at::Tensor FakeQuantize(const at::Tensor& x, const KvFormat& format, KvSide side);

}  // namespace kvtune
