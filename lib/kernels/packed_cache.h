// The packed cache of one layer for many sequences, as plain memory, and what is done with it. The
// CPU (packed_cpu.h) and CUDA (cuda/packed_cuda.h) have the same functions. This file is
// torch-free.
//
// The order of a decode step is that of KVTuner's cache: the newest token of every sequence is
// appended, the queries attend, and the groups that became full are quantized (flushed). Keys,
// values, queries and results are bfloat16, given as their bits; sums are float32.
#pragma once

#include <cstdint>

#include "lib/kernels/packed_layout.h"
#include "lib/kernels/small_floats.h"

namespace kvtune {

// Memory of the device that works on it; nothing is owned. Pages may lie in any order, and those
// of a sequence that has ended may go to another one. Bytes that were not yet written may have any
// value: no result depends on them.
struct PackedCache {
  PackedLayout layout;
  int64_t sequences = 0;
  int64_t kv_heads = 0;
  int64_t pages_per_sequence = 0;
  uint8_t* pages = nullptr;             // [pages, kv_heads, layout.page.bytes]
  const int32_t* page_table = nullptr;  // [sequences, pages_per_sequence], indices of pages
  uint8_t* windows = nullptr;           // [sequences, kv_heads, layout.window.bytes]
  // [sequences]: how many tokens each has, with the newest.
  const int32_t* tokens = nullptr;
  int64_t most_tokens = 0;  // no sequence has more
};

struct PackedTokens {
  const uint16_t* keys = nullptr;    // [sequences, kv_heads, count, head_dim]
  const uint16_t* values = nullptr;  // [sequences, kv_heads, count, head_dim]
  int64_t count = 1;
};

struct PackedQuery {
  const uint16_t* query = nullptr;  // [sequences, query_heads, head_dim], rotated
  uint16_t* out = nullptr;          // the same; zeros for a sequence without tokens
  int64_t query_heads = 0;          // a multiple of kv_heads
  float scale = 1;                  // of the scores
  float soft_cap = 0;               // scores become cap * tanh(score / cap); 0: they do not
  int64_t sliding_window = 0;       // how many of the newest tokens are seen; 0: all
  const float* sinks = nullptr;     // [query_heads], a score that only the sum sees; may be null
};

// Where 16 bits of codes of a token lie in the plane of its side, in bytes. `unit` counts the 16
// bits along the channels.
KVTUNE_HOST_DEVICE inline int64_t KeyUnit(int64_t token, int64_t unit, int64_t head_dim, int bits) {
  return token * head_dim * bits / 8 + unit * 2;
}
KVTUNE_HOST_DEVICE inline int64_t ValueUnit(int64_t token, int64_t unit, int64_t head_dim,
                                            int bits) {
  return token / 2 * head_dim * bits / 4 + unit * 4 + token % 2 * 2;
}
KVTUNE_HOST_DEVICE inline int64_t UnitOf(KvSide side, int64_t token, int64_t unit, int64_t head_dim,
                                         int bits) {
  return side == KvSide::kKey ? KeyUnit(token, unit, head_dim, bits)
                              : ValueUnit(token, unit, head_dim, bits);
}

// The page of a token, for all KV heads.
KVTUNE_HOST_DEVICE inline uint8_t* PageOf(const PackedCache& cache, int64_t sequence, int64_t head,
                                          int64_t token) {
  const int64_t page = cache.page_table[sequence * cache.pages_per_sequence + token / kPageTokens];
  return cache.pages + (page * cache.kv_heads + head) * cache.layout.page.bytes;
}
KVTUNE_HOST_DEVICE inline uint8_t* WindowOf(const PackedCache& cache, int64_t sequence,
                                            int64_t head) {
  return cache.windows + (sequence * cache.kv_heads + head) * cache.layout.window.bytes;
}

}  // namespace kvtune
