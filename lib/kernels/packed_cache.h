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

// Sequences whose first tokens are the same ones, in whole pages that are packed, may be read
// together: their queries meet these pages once. A unit is described by three numbers:
//   its first sequence, how many sequences it has, how many of the first pages are the same
// The sequences of a unit stand together, and so do the units. Only CUDA's attention makes use of
// them, where there is no sliding window and the query heads of a unit's KV head are at most 8.
struct PackedUnits {
  const int64_t* numbers = nullptr;      // [count, 3]; null: each sequence is read alone
  const int64_t* of_sequence = nullptr;  // [sequences], indices of units
  int64_t count = 0;
  int64_t pages = 0;  // no unit has more to read: the same ones and each sequence's other ones
};

// Memory of the device that works on it; nothing is owned. Pages may lie in any order, and those
// of a sequence that has ended may go to another one. Bytes that were not yet written may have any
// value: no result depends on them.
//
// All that is of a sequence (its pages and window, tokens, queries and results) stands in one row
// of each table. The sequences may be some of the rows: those that are stored alike.
struct PackedCache {
  PackedLayout layout;
  int64_t sequences = 0;
  const int64_t* rows = nullptr;  // [sequences]; null: sequence i is row i
  int64_t kv_heads = 0;
  // Of pages for all heads, [kv_heads, layout.page.bytes] each, the places in the memory behind
  // `pages`, in units of kPageUnit; a row of the table begins `table_stride` entries behind the one
  // before.
  uint8_t* pages = nullptr;
  const int32_t* page_table = nullptr;
  int64_t table_stride = 0;
  // [kv_heads, layout.window.bytes] each: one after another behind `windows`, or, where there is a
  // table of their places with the same stride, wherever it says.
  uint8_t* windows = nullptr;
  const int32_t* window_table = nullptr;
  // By row: how many tokens each has, with the newest.
  const int32_t* tokens = nullptr;
  int64_t most_tokens = 0;  // no sequence has more
  PackedUnits units = {};
};

// A stride for what follows one another without gaps.
inline constexpr int64_t kNoGaps = -1;

struct PackedTokens {
  const uint16_t* keys = nullptr;    // [rows, kv_heads, count, head_dim]
  const uint16_t* values = nullptr;  // [rows, kv_heads, count, head_dim]
  int64_t count = 1;
  // In elements; the stride of rows is 0 where they all have the same tokens, and as many.
  int64_t row_stride = kNoGaps;
  int64_t head_stride = kNoGaps;
};

struct PackedQuery {
  const uint16_t* query = nullptr;  // [rows, query_heads, head_dim], rotated
  int64_t row_stride = kNoGaps;     // of the queries, in elements
  int64_t head_stride = kNoGaps;
  // [rows, query_heads, head_dim] without gaps: zeros for a sequence without tokens, and nothing
  // for a row that is no sequence.
  uint16_t* out = nullptr;
  int64_t query_heads = 0;       // a multiple of kv_heads
  float scale = 1;               // of the scores
  float soft_cap = 0;            // scores become cap * tanh(score / cap); 0: they do not
  int64_t sliding_window = 0;    // how many of the newest tokens are seen; 0: all
  const float* sinks = nullptr;  // [query_heads], a score that only the sum sees; may be null
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

KVTUNE_HOST_DEVICE inline int64_t RowOfSequence(const PackedCache& cache, int64_t sequence) {
  return cache.rows == nullptr ? sequence : cache.rows[sequence];
}

// The page of a token, for one KV head.
KVTUNE_HOST_DEVICE inline uint8_t* PageOf(const PackedCache& cache, int64_t row, int64_t head,
                                          int64_t token) {
  const int64_t place = cache.page_table[row * cache.table_stride + token / kPageTokens];
  return cache.pages + place * kPageUnit + head * cache.layout.page.bytes;
}
KVTUNE_HOST_DEVICE inline uint8_t* WindowOf(const PackedCache& cache, int64_t row, int64_t head) {
  const int64_t bytes = cache.layout.window.bytes;
  const int64_t begin = cache.window_table == nullptr
                            ? row * cache.kv_heads * bytes
                            : cache.window_table[row * cache.table_stride] * kPageUnit;
  return cache.windows + begin + head * bytes;
}

// Where token `i` of the input of a row begins, in elements.
KVTUNE_HOST_DEVICE inline int64_t InputAt(const PackedCache& cache, const PackedTokens& input,
                                          int64_t row, int64_t head, int64_t i) {
  const int64_t head_dim = cache.layout.head_dim;
  const int64_t of_head = input.head_stride == kNoGaps ? input.count * head_dim : input.head_stride;
  const int64_t of_row = input.row_stride == kNoGaps ? cache.kv_heads * of_head : input.row_stride;
  return row * of_row + head * of_head + i * head_dim;
}
// Where a query begins, in elements.
KVTUNE_HOST_DEVICE inline int64_t QueryAt(const PackedQuery& query, int64_t head_dim, int64_t row,
                                          int64_t head) {
  const int64_t of_head = query.head_stride == kNoGaps ? head_dim : query.head_stride;
  const int64_t of_row =
      query.row_stride == kNoGaps ? query.query_heads * of_head : query.row_stride;
  return row * of_row + head * of_head;
}

}  // namespace kvtune
