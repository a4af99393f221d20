#include <algorithm>

#include "lib/kernels/cuda/packed_attention.cuh"

namespace kvtune {
template <>
AttentionKernel FindAttentionKernel<32>(PackedSide key, PackedSide value, RowReaders readers);
template <>
AttentionKernel FindAttentionKernel<64>(PackedSide key, PackedSide value, RowReaders readers);
template <>
AttentionKernel FindAttentionKernel<96>(PackedSide key, PackedSide value, RowReaders readers);
template <>
AttentionKernel FindAttentionKernel<128>(PackedSide key, PackedSide value, RowReaders readers);
template <>
AttentionKernel FindAttentionKernel<192>(PackedSide key, PackedSide value, RowReaders readers);
template <>
AttentionKernel FindAttentionKernel<256>(PackedSide key, PackedSide value, RowReaders readers);

namespace {

constexpr char kAttending[] = "attention over a packed cache";

// Query heads of a block of the merge: blocks of one have too little to do.
constexpr int kMergedHeads = 4;

// One block merges the partial results of some query heads of one sequence, a thread for each
// channel. Where the card can do so, its blocks come while the last ones of the attention still
// work.
__global__ void MergeSplitsKernel(const __grid_constant__ AttentionJob job) {
#if __CUDA_ARCH__ >= 900
  cudaGridDependencySynchronize();
#endif
  const int64_t head = blockIdx.x * blockDim.y + threadIdx.y, sequence = blockIdx.y;
  if (head >= job.query.query_heads) return;
  const int64_t head_dim = job.cache.layout.head_dim, slots = job.splits.slots();
  const int64_t at = sequence * job.query.query_heads + head;
  const float* sums = job.partial_sums + at * slots * 2;
  const int64_t of_kv = job.query.query_heads / job.cache.kv_heads;
  const int64_t unit =
      job.cache.units.numbers == nullptr ? sequence : job.cache.units.of_sequence[sequence];
  const int64_t row =
      (unit * job.cache.kv_heads + head / of_kv) * job.query_tiles + head % of_kv / kQueryTile;
  const int64_t first_page = row * job.splits.pages;
  const int64_t used =
      BlockOfPage(job, first_page + job.splits.pages - 1) - BlockOfPage(job, first_page) + 1;
  const float sink = job.query.sinks == nullptr ? kLowest : job.query.sinks[head] * kLog2E;
  float largest = sink, sum = job.query.sinks == nullptr ? 0.0f : 1.0f, out = 0;
  const auto add = [&](int64_t slot) {
    const float sum_of_slot = sums[2 * slot + 1];
    if (!(sum_of_slot > 0)) return;  // It saw no token.
    const float both = fmaxf(largest, sums[2 * slot]);
    const float before = Exp2(largest - both), weight = Exp2(sums[2 * slot] - both);
    sum = sum * before + weight * sum_of_slot;
    out = out * before + weight * job.partial[(at * slots + slot) * head_dim + threadIdx.x];
    largest = both;
  };
  for (int64_t slot = 0; slot < used; ++slot) add(slot);
  if (job.splits.windows > 0) add(slots - 1);
  const __nv_bfloat16 result = __float2bfloat16_rn(sum > 0 ? out / sum : 0.0f);
  const int64_t to = RowOfSequence(job.cache, sequence) * job.query.query_heads + head;
  reinterpret_cast<__nv_bfloat16*>(job.query.out)[to * head_dim + threadIdx.x] = result;
}

AttentionKernel KernelFor(const PackedCache& cache) {
  const PackedLayout& layout = cache.layout;
  const RowReaders readers = ReadersOf(cache);
  switch (layout.head_dim) {
    case 32:
      return FindAttentionKernel<32>(layout.key, layout.value, readers);
    case 64:
      return FindAttentionKernel<64>(layout.key, layout.value, readers);
    case 96:
      return FindAttentionKernel<96>(layout.key, layout.value, readers);
    case 128:
      return FindAttentionKernel<128>(layout.key, layout.value, readers);
    case 192:
      return FindAttentionKernel<192>(layout.key, layout.value, readers);
    case 256:
      return FindAttentionKernel<256>(layout.key, layout.value, readers);
    default:
      throw Error("attention over a packed cache on CUDA: found heads of " +
                  std::to_string(layout.head_dim) + " channels, expected those of PackedLayoutOf");
  }
}

// Whether the kernel, as it was compiled for this card, waits for the launch before it by itself.
bool MergeWaits() {
  static const bool waits = [] {
    cudaFuncAttributes attributes{};
    return cudaFuncGetAttributes(&attributes, MergeSplitsKernel) == cudaSuccess &&
           attributes.ptxVersion >= 90;
  }();
  return waits;
}

void LaunchMerge(const AttentionJob& job, const CudaPlace& place) {
  cudaLaunchAttribute overlap{};
  overlap.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  overlap.val.programmaticStreamSerializationAllowed = 1;
  cudaLaunchConfig_t launch{};
  launch.gridDim = dim3(BlocksFor(job.query.query_heads, kMergedHeads),
                        static_cast<unsigned>(job.cache.sequences));
  launch.blockDim = dim3(static_cast<unsigned>(job.cache.layout.head_dim), kMergedHeads);
  launch.stream = StreamOf(place);
  launch.attrs = &overlap;
  launch.numAttrs = MergeWaits() ? 1 : 0;
  cudaLaunchKernelEx(&launch, MergeSplitsKernel, job);
}

int64_t QueryTiles(const PackedCache& cache, const PackedQuery& query) {
  return (query.query_heads / cache.kv_heads + kQueryTile - 1) / kQueryTile;
}

int64_t Divided(int64_t count, int64_t by) { return (count + by - 1) / by; }

// The pages of the longest sequence that a query can see.
int64_t VisiblePages(const PackedCache& cache, const PackedQuery& query) {
  const int64_t pages = std::max<int64_t>(1, Divided(cache.most_tokens, kPageTokens));
  if (query.sliding_window == 0) return pages;
  return std::min(pages, Divided(query.sliding_window, kPageTokens) + 1);
}

int64_t RowsOf(const PackedCache& cache, const PackedQuery& query, int64_t units) {
  return units * cache.kv_heads * QueryTiles(cache, query);
}

// Under this many pages a block costs more than it saves (measured on an H200).
constexpr int64_t kFewestPages = 8;

}  // namespace

PackedSplits SplitsOnCuda(const PackedCache& cache, const PackedQuery& query,
                          const CudaPlace& place, int64_t blocks) {
  PackedSplits splits;
  splits.sequence_pages = VisiblePages(cache, query);
  splits.pages = cache.units.numbers == nullptr ? splits.sequence_pages : cache.units.pages;
  splits.windows = cache.layout.window_tokens > 0 ? 1 : 0;
  const int64_t rows = RowsOf(cache, query, UnitCount(cache)), pages = rows * splits.pages;
  if (blocks == 0) {
    const CurrentDevice current(place.device);
    int processors = 1, of_processor = 1;
    cudaDeviceGetAttribute(&processors, cudaDevAttrMultiProcessorCount, place.device);
    cudaOccupancyMaxActiveBlocksPerMultiprocessor(&of_processor, KernelFor(cache),
                                                  32 * kAttentionWarps, 0);
    RequireLaunched(kAttending);
    blocks = std::min<int64_t>(int64_t{processors} * std::max(1, of_processor),
                               Divided(pages, kFewestPages));
  }
  splits.blocks = std::clamp<int64_t>(blocks, 1, pages);
  splits.slots_of_row = std::min(splits.pages, (splits.pages - 1) / (pages / splits.blocks) + 2);
  return splits;
}

int64_t ScratchFloats(const PackedCache& cache, const PackedQuery& query,
                      const PackedSplits& splits) {
  return cache.sequences * query.query_heads * splits.slots() * (cache.layout.head_dim + 2);
}

void AttendOnCuda(const PackedCache& cache, const PackedQuery& query, const PackedSplits& splits,
                  float* scratch, const CudaPlace& place) {
  const CurrentDevice current(place.device);
  const int64_t results = cache.sequences * query.query_heads * splits.slots();
  const AttentionJob job{cache,
                         query,
                         splits,
                         scratch,
                         scratch + results * cache.layout.head_dim,
                         QueryTiles(cache, query)};
  const auto blocks =
      static_cast<unsigned>(splits.blocks + splits.windows * RowsOf(cache, query, cache.sequences));
  KernelFor(cache)<<<blocks, 32 * kAttentionWarps, 0, StreamOf(place)>>>(job);
  LaunchMerge(job, place);
  RequireLaunched(kAttending);
}

}  // namespace kvtune
