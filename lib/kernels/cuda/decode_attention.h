// Attention of one query token of every sequence over a cache of half-precision values, on CUDA.
// This file is torch-free.
#pragma once

#include <cstdint>

#include "lib/kernels/cuda/cuda_place.h"
#include "lib/kernels/small_floats.h"

namespace kvtune {

// Sequences (rows of the cache) whose first tokens lie in memory once attend together, so that
// these are read once for all of them. A group is described by numbers in a row:
//   the row whose memory holds the first keys, the row that holds the first values,
//   how many tokens are shared (0: each row has all of its own),
//   its rows, of which there are RowsOfGroup; -1 stands for none
// What is not shared, a row reads in its own memory, at the same positions.
inline constexpr int64_t kGroupHeader = 3;
// The queries of a group are the rows of one matrix instruction.
inline constexpr int64_t kGroupQueries = 16;

// The most rows of a group, where so many query heads share a KV head.
KVTUNE_HOST_DEVICE constexpr int64_t RowsOfGroup(int64_t shared_heads) {
  return shared_heads < kGroupQueries ? kGroupQueries / shared_heads : 1;
}

// All pointers are to memory of the device; elements have the type of the place.
struct DecodeAttention {
  const void* query = nullptr;                          // [query_heads, rows, head_dim], scaled
  int64_t query_head_stride = 0, query_row_stride = 0;  // in elements
  const void* keys = nullptr;    // [rows, kv_heads, max_tokens, head_dim], contiguous
  const void* values = nullptr;  // the same shape
  void* out = nullptr;           // [rows, query_heads, head_dim]; only rows of groups are written
  int64_t query_heads = 0;
  int64_t kv_heads = 0;
  int64_t max_tokens = 0;
  int64_t head_dim = 0;
  const int64_t* positions = nullptr;  // [rows]: of the newest token, which is the last one
  const int64_t* groups = nullptr;     // [group_count, kGroupHeader + RowsOfGroup]
  int64_t group_count = 0;
  int64_t sliding_window = 0;    // how many of the newest tokens are seen; 0: all
  float soft_cap = 0;            // scores become cap tanh(score / cap); 0: they do not
  const float* sinks = nullptr;  // [query_heads], a score that only the sum sees; may be null
};

// Whether there is a kernel for heads of so many channels.
constexpr bool CanDecodeOnCuda(ElementType type, int64_t head_dim) {
  return type != ElementType::kFloat32 && (head_dim == 64 || head_dim == 128 || head_dim == 256);
}

// REQUIRES: CanDecodeOnCuda. Throws Error when the launch fails.
void DecodeAttentionOnCuda(const DecodeAttention& attention, const CudaPlace& place);

}  // namespace kvtune
