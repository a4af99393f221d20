// Fake quantization on CUDA: the same rows as fake_quantize_cpu.h, one thread each. Torch-free.
#pragma once

#include <cstdint>
#include <span>

#include "lib/kernels/fake_quantize_cpu.h"

namespace kvtune {

enum class ElementType { kFloat32, kBFloat16, kFloat16 };

// Contiguous memory of device `device`. in and out: [heads, tokens, head_dim]; may be the same.
struct CudaHeads {
  const void* in = nullptr;
  void* out = nullptr;
  ElementType type = ElementType::kFloat32;
  int device = 0;
};

// Rows of a token and head; computed in float32 and rounded to `type` once. static_scales: one a KV
// head, repeating over sequences; empty for scales of rows. On the default stream, where libtorch
// works unless it is told otherwise. Throws Error when the launch fails.
void RoundTripHeadsOnCuda(const CudaHeads& x, const HeadsShape& shape,
                          const HeadArithmetic& arithmetic, std::span<const float> static_scales);

// Rows of arithmetic.group tokens of one channel. REQUIRES: tokens is a multiple of
// arithmetic.group.
void RoundTripColumnsOnCuda(const CudaHeads& x, const HeadsShape& shape,
                            const HeadArithmetic& arithmetic);

}  // namespace kvtune
