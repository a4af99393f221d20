// The packed cache (lib/kernels/packed_cache.h) on CUDA. All memory is the device's, elements are
// bfloat16, and all functions throw Error when a launch fails. This file is torch-free.
#pragma once

#include <cstdint>

#include "lib/kernels/cuda/cuda_place.h"
#include "lib/kernels/packed_cache.h"

namespace kvtune {

// Stores the first tokens of every sequence, tokens[row] <= count of them, as if they had come
// one by one and the newest had not attended yet.
void FillOnCuda(const PackedCache& cache, const PackedTokens& first, const CudaPlace& place);

// Stores the newest token of every sequence that has one. REQUIRES: newest.count == 1
void AppendOnCuda(const PackedCache& cache, const PackedTokens& newest, const CudaPlace& place);

// Quantizes the groups that the newest tokens have filled; to be called after they have attended.
// Does nothing for a layout without a window.
void FlushOnCuda(const PackedCache& cache, const CudaPlace& place);

// How the work is split over blocks. Rows are the KV heads of all units (sequences that are read
// alone are units of one), each with up to 8 query heads; the pages of all rows, one row after
// another, are cut into as many equal parts as there are blocks. Sequences that are shorter than
// the longest leave some blocks with less to do.
struct PackedSplits {
  int64_t blocks = 1;          // for packed tokens
  int64_t sequence_pages = 1;  // of the longest sequence, those that a query sees
  int64_t pages = 1;           // of a row of the largest unit
  int64_t slots_of_row = 1;    // the most blocks that share a row
  int64_t windows = 0;         // 1 where the exact window of each row is a block of its own

  // Partial results of a row.
  KVTUNE_HOST_DEVICE int64_t slots() const { return slots_of_row + windows; }
};
// Splits so that the blocks fill the device once, or into `blocks` where that is not 0.
PackedSplits SplitsOnCuda(const PackedCache& cache, const PackedQuery& query,
                          const CudaPlace& place, int64_t blocks = 0);

// The float32 numbers of memory that AttendOnCuda needs for partial results.
int64_t ScratchFloats(const PackedCache& cache, const PackedQuery& query,
                      const PackedSplits& splits);

// Attention of one query token of every sequence over its cache, the newest token included. The
// packed bytes are read once for all query heads of a KV head, up to 8 of them.
void AttendOnCuda(const PackedCache& cache, const PackedQuery& query, const PackedSplits& splits,
                  float* scratch, const CudaPlace& place);

}  // namespace kvtune
