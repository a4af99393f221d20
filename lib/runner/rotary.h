// Rotary position embedding tables (arXiv 2104.09864), in the half-split layout of Hugging Face files.
#pragma once

#include "lib/core/model_config.h"
#include "lib/runner/torch.h"

namespace kvtune {

struct RotaryTables {
  at::Tensor cos;  // [positions, rotary_dim / 2]
  at::Tensor sin;  // [positions, rotary_dim / 2]
};

// Angles are computed in float32 as transformers does, then rounded to `options`' type.
RotaryTables MakeRotaryTables(const RopeConfig& rope, int64_t positions,
                              const at::TensorOptions& options);

// Rotates channel i against channel i + head_dim / 2. x: [..., tokens, head_dim]; angles of these
// tokens. Returns a contiguous tensor of the same shape.
at::Tensor Rotate(const at::Tensor& x, const RotaryTables& angles);

}  // namespace kvtune
