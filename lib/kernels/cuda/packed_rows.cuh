// Which block of decode attention over a packed cache reads what: rows, parts and places.
// packed_attention.cuh says how these go together.
#pragma once

#include "lib/kernels/cuda/device.cuh"
#include "lib/kernels/cuda/packed_cuda.h"

namespace kvtune {

inline constexpr int kQueryTile = 8;  // query heads of a block

// What a kernel needs to know, by value.
struct AttentionJob {
  PackedCache cache;
  PackedQuery query;
  PackedSplits splits;
  float* partial;       // [sequences, query_heads, slots, head_dim]
  float* partial_sums;  // [sequences, query_heads, slots, 2]: largest score, sum of weights
  int64_t query_tiles;  // of a KV head
};

// Who reads a row: a sequence alone, or a unit of sequences of which some pages are the same. A
// launch has rows of one kind. Kernels are compiled for each, so that what units need costs the
// others nothing.
enum class RowReaders { kSequence, kUnit };
inline RowReaders ReadersOf(const PackedCache& cache) {
  return cache.units.numbers == nullptr ? RowReaders::kSequence : RowReaders::kUnit;
}

// A row is one KV head of one unit with one tile of its query heads.
KVTUNE_HOST_DEVICE inline int64_t UnitCount(const PackedCache& cache) {
  return cache.units.numbers == nullptr ? cache.sequences : cache.units.count;
}
__device__ inline int64_t RowCount(const AttentionJob& job) {
  return UnitCount(job.cache) * job.cache.kv_heads * job.query_tiles;
}
// The first page of a block's part, counted over all rows; that of block `blocks` is the end.
__device__ inline int64_t PartBegin(const AttentionJob& job, int64_t block) {
  return block * (RowCount(job) * job.splits.pages) / job.splits.blocks;
}
// The block whose part has the page.
__device__ inline int64_t BlockOfPage(const AttentionJob& job, int64_t page) {
  return ((page + 1) * job.splits.blocks - 1) / (RowCount(job) * job.splits.pages);
}

// What a block does for one row: up to kQueryTile queries of one KV head. Those of a sequence stand
// together.
struct RowPlace {
  int64_t sequence, head;  // of KV
  int64_t first_query;     // of each sequence
  int queries;             // of all sequences
  int of_sequence;         // queries
  int sequences;
  int same_pages;  // of the sequences

  __device__ int64_t SequenceOf(int query) const { return sequence + query / of_sequence; }
  __device__ int64_t HeadOf(int query) const { return first_query + query % of_sequence; }
};
// The place of a sequence that is read alone.
__device__ inline RowPlace PlaceOfRow(const AttentionJob& job, int64_t row) {
  const int64_t tile = row % job.query_tiles, head = row / job.query_tiles % job.cache.kv_heads;
  const int64_t queries = job.query.query_heads / job.cache.kv_heads;
  const int64_t left = queries - tile * kQueryTile;
  return {row / job.query_tiles / job.cache.kv_heads,
          head,
          head * queries + tile * kQueryTile,
          static_cast<int>(left < kQueryTile ? left : kQueryTile),
          kQueryTile,
          1,
          0};
}
__device__ inline RowPlace PlaceOfUnitRow(const AttentionJob& job, int64_t row) {
  const int64_t* unit = job.cache.units.numbers + row / job.cache.kv_heads * 3;
  const int64_t head = row % job.cache.kv_heads;
  const int queries = static_cast<int>(job.query.query_heads / job.cache.kv_heads);
  const int sequences = static_cast<int>(unit[1]);
  return {unit[0], head,      head * queries,           queries * sequences,
          queries, sequences, static_cast<int>(unit[2])};
}

}  // namespace kvtune
