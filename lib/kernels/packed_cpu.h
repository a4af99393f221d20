// The packed cache (packed_cache.h) on the CPU: the same functions, layout and codes as
// cuda/packed_cuda.h. All memory is the host's. This file is torch-free.
#pragma once

#include "lib/kernels/packed_cache.h"

namespace kvtune {

// Stores the first tokens of every sequence, tokens[row] <= count of them, as if they had come
// one by one and the newest had not attended yet.
void FillOnCpu(const PackedCache& cache, const PackedTokens& first);

// Stores the newest token of every sequence that has one. REQUIRES: newest.count == 1
void AppendOnCpu(const PackedCache& cache, const PackedTokens& newest);

// Quantizes the groups that the newest tokens have filled; to be called after they have attended.
void FlushOnCpu(const PackedCache& cache);

// Attention of one query token of every sequence over its cache, the newest token included. Keys
// and values are what ReadToken gives.
void AttendOnCpu(const PackedCache& cache, const PackedQuery& query);

// One side of a token as KVTuner's cache gives it back, [head_dim]: every step rounds to bfloat16.
void ReadToken(const PackedCache& cache, KvSide side, int64_t row, int64_t head, int64_t token,
               float* out);

}  // namespace kvtune
