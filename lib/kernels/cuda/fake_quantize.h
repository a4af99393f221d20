// Fake quantization on CUDA of the same rows as in fake_quantize_cpu.h, with one thread for each.
// This file is torch-free.
#pragma once

#include <cstdint>
#include <span>

#include "lib/kernels/fake_quantize_cpu.h"

namespace kvtune {

enum class ElementType { kFloat32, kBFloat16, kFloat16 };

// Contiguous memory of the device `device`. in and out are [heads, tokens, head_dim] and may be the
// same memory.
struct CudaHeads {
  const void* in = nullptr;
  void* out = nullptr;
  ElementType type = ElementType::kFloat32;
  int device = 0;
};

// A row belongs to one token of one head. It is computed in float32 and rounded to `type` once.
// static_scales holds one scale for each KV head, which repeat over sequences; it is empty where
// each row has its own. The kernel runs on the default stream, where libtorch works unless it is
// told otherwise. Throws Error when the launch fails.
void RoundTripHeadsOnCuda(const CudaHeads& x, const HeadsShape& shape,
                          const HeadArithmetic& arithmetic, std::span<const float> static_scales);

// A row is arithmetic.group tokens of one channel. REQUIRES: tokens is a multiple of
// arithmetic.group.
void RoundTripColumnsOnCuda(const CudaHeads& x, const HeadsShape& shape,
                            const HeadArithmetic& arithmetic);

}  // namespace kvtune
