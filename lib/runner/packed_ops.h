// What is done with a packed cache (lib/kernels/packed_cache.h), on the device where its memory is.
#pragma once

#include <cstdint>

#include "lib/kernels/packed_cache.h"
#include "lib/runner/torch.h"

namespace kvtune {

// Throws Error for a CUDA device where kvtune was built without CUDA kernels.
void RequirePacking(const at::Device& device);

// The bits of a tensor of bfloat16.
const uint16_t* BitsOfTensor(const at::Tensor& x);

// See packed_cpu.h and cuda/packed_cuda.h. All pointers are to the memory of the device.
void FillPacked(const PackedCache& cache, const PackedTokens& first, const at::Device& device);
void AppendPacked(const PackedCache& cache, const PackedTokens& newest, const at::Device& device);
void FlushPacked(const PackedCache& cache, const at::Device& device);

// What CUDA's kernels keep from one attention to the next.
struct PackedWork {
  at::Tensor* scratch;  // grows where it has to
  int64_t* blocks;      // over which the work is split; 0: not known yet
};
void AttendPacked(const PackedCache& cache, const PackedQuery& query, const PackedWork& work,
                  const at::Device& device);

}  // namespace kvtune
