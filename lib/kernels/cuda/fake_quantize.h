// Fake quantization on CUDA of the same rows as in fake_quantize_cpu.h, with one thread for each.
// This file is torch-free.
#pragma once

#include <cstdint>
#include <span>

#include "lib/kernels/cuda/cuda_place.h"
#include "lib/kernels/fake_quantize_cpu.h"

namespace kvtune {

// Contiguous memory of the device. in and out are [heads, tokens, head_dim] and may be the same
// memory.
struct CudaHeads {
  const void* in = nullptr;
  void* out = nullptr;
  CudaPlace place;
};

// A row belongs to one token of one head. It is computed in float32 and rounded to the element type
// once. static_scales holds one scale for each KV head, which repeat over sequences; it is empty
// where each row has its own. Throws Error when the launch fails, as all functions here do.
void RoundTripHeadsOnCuda(const CudaHeads& x, const HeadsShape& shape,
                          const HeadArithmetic& arithmetic, std::span<const float> static_scales);

// A row is arithmetic.group tokens of one channel. REQUIRES: tokens is a multiple of
// arithmetic.group.
void RoundTripColumnsOnCuda(const CudaHeads& x, const HeadsShape& shape,
                            const HeadArithmetic& arithmetic);

// KVTuner's asymmetric integers, rounded to the element type after every step as KVTuner's
// operators round them (scripts/oracles/quantizer_parity.py). The groups of a row are `group`
// channels of one token; the last one may be shorter.
void KvtunerRowsOnCuda(const CudaHeads& x, const HeadsShape& shape, int64_t group, int bits);

// The same over groups of `group` tokens of one channel. REQUIRES: tokens is a multiple of `group`.
void KvtunerColumnsOnCuda(const CudaHeads& x, const HeadsShape& shape, int64_t group, int bits);

}  // namespace kvtune
