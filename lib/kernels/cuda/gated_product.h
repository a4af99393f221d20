// A matrix product with a gate, of which the wide halves never reach memory, on GPUs of compute
// capability 9.0. This file is torch-free.
#pragma once

#include <cstdint>

#include "lib/core/model_config.h"
#include "lib/kernels/cuda/cuda_place.h"

namespace kvtune {

// activation(rows W_gate^T) * (rows W_up^T). All pointers are to contiguous memory of the device.
struct CudaGatedProduct {
  const void* rows = nullptr;     // [row_count, depth]
  const void* weights = nullptr;  // [2 width, depth], those of the gate first
  int64_t row_count = 0, depth = 0, width = 0;
  Activation activation = Activation::kSilu;
  void* out = nullptr;  // [row_count, width]
};

// Whether GatedProductOnHopper can take elements of this type and such sizes.
bool HasGatedProductOnHopper(ElementType type, int64_t depth, int64_t width);

// Sums in float32 and rounds where a matrix product and GatedOnCuda (row_kernels.h) round: each
// half, the activated gate and the result. Throws Error when the launch fails.
// REQUIRES: the device is a Hopper; HasGatedProductOnHopper; the activation is kSilu or kGeluTanh;
// the pointers are aligned to 16 bytes.
void GatedProductOnHopper(const CudaPlace& place, const CudaGatedProduct& product);

}  // namespace kvtune
