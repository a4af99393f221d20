// Decode attention over a packed cache, on tensor cores, by reading every packed byte once.
//
// The pages of all KV heads of all sequences, each for up to eight query heads, stand in one row
// that is cut into equal parts, one for each block that fits on the device at a time
// (PackedSplits): so all blocks end together. A block's part may end in the middle of a sequence;
// its results per sequence are merged with those of its neighbours. The warps of a block take turns
// in stages of 16 to 64 tokens. The matrix instruction m16n8k16 has 16 tokens (scores) or 16
// channels (values) as its rows and the query heads as its 8 columns. Codes go into it as whole
// numbers in half precision, which are exact, and scales and zeros are folded out:
//
//   keys per token      score = (codes . q + zero * sum(q)) * scale
//   keys per channel    q takes the scales of a group, and zeros give one constant for each query
//   values per token    weights take the scales, and the zeros give one sum
//   values by groups    codes take scale and zero in half precision before the instruction
//
// The order in which channels are summed is free, so a lane reads 16 neighbouring bytes of a token
// and the query is arranged to match (Fragment). Values lie in pairs of tokens (packed_layout.h),
// which are the pairs that the instruction wants. So codes go from memory to registers to the
// instruction and never through shared memory; the loads of the next stage are on their way while
// the present one is computed. Splits are merged by their largest scores in float32.
//
// Ideas: BitDecoding (arXiv 2503.18773), TurboMind (LMDeploy, which feeds codes by magic numbers).
#pragma once

#include "lib/kernels/cuda/device.cuh"
#include "lib/kernels/cuda/packed_rows.cuh"
#include "lib/kernels/cuda/packed_warp.cuh"

namespace kvtune {

// The first token that the query sees.
__device__ inline int FirstVisible(const AttentionJob& job, int tokens) {
  const int64_t window = job.query.sliding_window;
  return window > 0 && tokens > window ? tokens - static_cast<int>(window) : 0;
}

// Merges the warps and writes their result for the row to a slot.
template <int kHeadDim, int kPadded>
__device__ void MergeWarps(const AttentionJob& job, const WarpResults<kPadded>& results,
                           const RowPlace& place, int64_t slot) {
  const int64_t slots = job.splits.slots();
  for (int i = threadIdx.x; i < place.queries * kHeadDim; i += blockDim.x) {
    const int query = i / kHeadDim, channel = i % kHeadDim;
    float largest = kLowest;
#pragma unroll
    for (int w = 0; w < kAttentionWarps; ++w) largest = fmaxf(largest, results.reference[w][query]);
    float sum = 0, out = 0;
#pragma unroll
    for (int w = 0; w < kAttentionWarps; ++w) {
      const float weight = Exp2(results.reference[w][query] - largest);
      sum += weight * results.sum[w][query];
      out += weight * results.out[w][query][channel];
    }
    const int64_t at =
        (place.SequenceOf(query) * job.query.query_heads + place.HeadOf(query)) * slots + slot;
    job.partial[at * kHeadDim + channel] = out;
    if (channel == 0) {
      job.partial_sums[at * 2] = largest;
      job.partial_sums[at * 2 + 1] = sum;
    }
  }
}

// Attends to the pages of one sequence: those that are the pages `begin` to `end` - 1 of a row, of
// which `before` are other sequences' ones.
template <typename Attention>
__device__ void AttendToSequence(const AttentionJob& job, int64_t sequence, int64_t head,
                                 int before, int begin, int end, int warp, Attention& attention) {
  const PackedCache& cache = job.cache;
  const int64_t cache_row = RowOfSequence(cache, sequence);
  const int tokens = cache.tokens[cache_row];
  const int visible = FirstVisible(job, tokens);
  const int64_t packed = cache.layout.PackedTokens(tokens);
  const int first_page = visible / static_cast<int>(kPageTokens) - before;
  const int64_t last = static_cast<int64_t>(first_page + end) * kPageTokens;
  const TokenRange range{(first_page + begin) * static_cast<int>(kPageTokens),
                         static_cast<int>(last < packed ? last : packed)};
  attention.Run(PageSource{cache.pages + head * cache.layout.page.bytes,
                           cache.page_table + cache_row * cache.table_stride, cache.layout.page},
                range, visible, warp, kAttentionWarps);
}

// Attends to the pages `begin` to `end` - 1 of a unit's row: first those that are the same for all
// of its sequences, then the other ones of each sequence in turn.
template <typename Attention>
__device__ void AttendToUnit(const AttentionJob& job, const RowPlace& place, int begin, int end,
                             int warp, Attention& attention) {
  const int own_pages = static_cast<int>(job.splits.sequence_pages) - place.same_pages;
  for (int page = begin, next; page < end; page = next) {
    const bool is_same = page < place.same_pages;
    const int member = is_same ? 0 : (page - place.same_pages) / own_pages;
    if (member >= place.sequences) return;
    const int before = member * own_pages;  // pages of earlier sequences
    const int behind = is_same ? place.same_pages : place.same_pages + before + own_pages;
    next = end < behind ? end : behind;
    if (place.sequences > 1)
      attention.Select(is_same ? 0 : member * place.of_sequence,
                       is_same ? kQueryTile : (member + 1) * place.of_sequence);
    AttendToSequence(job, place.sequence + member, place.head, before, page, next, warp, attention);
  }
}

template <typename Key, typename Value, RowReaders kReaders>
__global__ void __launch_bounds__(32 * kAttentionWarps, Stage<Key, Value>::kBlocks)
    PackedAttentionKernel(const __grid_constant__ AttentionJob job) {
  constexpr int kHeadDim = Key::kHeadDim;
  constexpr bool kHasWindow =
      Key::kRows == PackedRows::kChannel || Value::kRows == PackedRows::kTokenGroup;
  using Exact = Fragment<PackedCode::kExact, PackedRows::kNone, kHeadDim>;
  using Attention = WarpAttention<Key, Value, Stage<Key, Value>::kTiles, kReaders>;
  __shared__ WarpResults<Key::kPadded> results;
  __shared__ alignas(16) uint32_t parameters[kAttentionWarps][2 * Attention::kParameterWords];
  const PackedCache& cache = job.cache;
  const int warp = threadIdx.x / 32;
  if (!kHasWindow || blockIdx.x < job.splits.blocks) {
    const int64_t end = PartBegin(job, static_cast<int64_t>(blockIdx.x) + 1);
    for (int64_t page = PartBegin(job, blockIdx.x), next; page < end; page = next) {
      const int64_t row = page / job.splits.pages, first_of_row = row * job.splits.pages;
      next = end < first_of_row + job.splits.pages ? end : first_of_row + job.splits.pages;
      const int first = static_cast<int>(page - first_of_row);
      const int behind = static_cast<int>(next - first_of_row);
      constexpr bool kIsAlone = kReaders == RowReaders::kSequence;
      const RowPlace place = kIsAlone ? PlaceOfRow(job, row) : PlaceOfUnitRow(job, row);
      Attention attention(job, place, parameters[warp]);
      if constexpr (kIsAlone) {
        AttendToSequence(job, place.sequence, place.head, 0, first, behind, warp, attention);
      } else {
        AttendToUnit(job, place, first, behind, warp, attention);
      }
      __syncthreads();  // The results of the row before have been read.
      attention.Finish(results, warp);
      __syncthreads();
      MergeWarps<kHeadDim>(job, results, place, blockIdx.x - BlockOfPage(job, first_of_row));
    }
  } else if constexpr (kHasWindow) {
    const RowPlace place = PlaceOfRow(job, blockIdx.x - job.splits.blocks);
    const int64_t cache_row = RowOfSequence(cache, place.sequence);
    const int tokens = cache.tokens[cache_row];
    const int first = static_cast<int>(cache.layout.PackedTokens(tokens));
    WarpAttention<Exact, Exact, 1, RowReaders::kSequence> attention(job, place, nullptr);
    attention.Run(WindowSource{WindowOf(cache, cache_row, place.head), first, cache.layout.window},
                  {first, tokens}, FirstVisible(job, tokens), warp, kAttentionWarps);
    attention.Finish(results, warp);
    __syncthreads();
    MergeWarps<kHeadDim>(job, results, place, job.splits.slots() - 1);
  }
}

// The kernel of a layout.
using AttentionKernel = void (*)(AttentionJob);
template <int kHeadDim>
AttentionKernel FindAttentionKernel(PackedSide key, PackedSide value, RowReaders readers);

// Calls `function` with the fragment of a side whose integers have such rows. FP8 goes with rows
// per token alone.
template <int kHeadDim, PackedRows kRows, typename Function>
void WithFragment(PackedSide side, const Function& function) {
  using enum PackedCode;
  switch (side.code) {
    case kInt2:
      return function(Fragment<kInt2, kRows, kHeadDim>());
    case kInt4:
      return function(Fragment<kInt4, kRows, kHeadDim>());
    case kInt8:
      return function(Fragment<kInt8, kRows, kHeadDim>());
    case kFp8:
      if constexpr (kRows == PackedRows::kToken)
        function(Fragment<kFp8, PackedRows::kNone, kHeadDim>());
      return;
    case kExact:
      return function(Fragment<kExact, PackedRows::kNone, kHeadDim>());
  }
}

template <int kHeadDim>
AttentionKernel AttentionKernelOf(PackedSide key, PackedSide value, RowReaders readers) {
  AttentionKernel kernel = nullptr;
  const auto find = [&]<PackedRows kKeyRows, PackedRows kValueRows>() {
    WithFragment<kHeadDim, kKeyRows>(key, [&]<typename Key>(Key) {
      WithFragment<kHeadDim, kValueRows>(value, [&]<typename Value>(Value) {
        kernel = readers == RowReaders::kSequence
                     ? PackedAttentionKernel<Key, Value, RowReaders::kSequence>
                     : PackedAttentionKernel<Key, Value, RowReaders::kUnit>;
      });
    });
  };
  if (key.has_window() || value.has_window()) {
    find.template operator()<PackedRows::kChannel, PackedRows::kTokenGroup>();
  } else {
    find.template operator()<PackedRows::kToken, PackedRows::kToken>();
  }
  return kernel;
}

}  // namespace kvtune
