#include <algorithm>

#include "lib/kernels/cuda/packed_fragment.cuh"
#include "lib/kernels/cuda/weight_errors.h"

namespace kvtune {
namespace {

// The rows of a block are pairs of a query and a query head that shares the block's KV head, the
// head counted fastest, so that all of them read the same keys. The scores of a row against the
// exact and the quantized keys are computed side by side from one copy of the query, become weights
// by the sums that flash attention has left, and are compared in registers.
//
// Each warp holds the queries of its rows as operands of m16n8k16 and reads keys from shared
// memory, where two stages of all sides take turns. Two tiles of 16 rows use each key that is read,
// since one would be bound by the reading; heads wider than 128 have no registers for two.
constexpr int kWarps = 4;
constexpr int kThreads = 32 * kWarps;
constexpr int kMostFormats = 3;  // of a launch
constexpr int kNever = 1 << 30;  // later than every token
constexpr char kDoing[] = "comparing attention weights";

template <int kDim>
struct Sizes {
  static constexpr int kRowTiles = kDim <= 128 ? 2 : 1;  // of a warp
  static constexpr int kRows = kWarps * 16 * kRowTiles;
  static constexpr int kKeys = kDim <= 128 ? 32 : 16;  // of a stage
  static constexpr int kChunks = kDim / 8;             // 16 bytes each
};

template <int kFormats>
struct Comparison {
  CudaAttentionShape shape;
  const void* query;
  CudaKeys sides[1 + kFormats];  // the exact one first
  double* errors;                // of the first format of the launch
  float* largest;
};

__device__ inline void CopyAsync(uint32_t to, const void* from, bool present) {
  const int bytes = present ? 16 : 0;  // the rest becomes 0
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(from), "r"(bytes)
               : "memory");
}

// Reads four 8 x 8 matrices, whose rows are at the addresses of the lanes.
__device__ inline void ReadMatrices(uint32_t address, uint32_t (&b)[4]) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(b[0]), "=r"(b[1]), "=r"(b[2]), "=r"(b[3])
               : "r"(address)
               : "memory");
}

template <typename T, int kDim, int kFormats>
class WeightComparison {
  using S = Sizes<kDim>;
  static constexpr int kSides = 1 + kFormats;
  static constexpr int kRowsOfLane = 2 * S::kRowTiles;
  static constexpr uint32_t kSideBytes = S::kKeys * kDim * 2;

 public:
  static constexpr uint32_t kSharedBytes = 2 * kSides * kSideBytes;

  __device__ WeightComparison(const Comparison<kFormats>& comparison, uint4* shared)
      : comparison_(comparison),
        shared_(static_cast<uint32_t>(__cvta_generic_to_shared(shared))),
        lane_(threadIdx.x % 32) {
    const CudaAttentionShape& shape = comparison_.shape;
    shared_heads_ = static_cast<int>(shape.query_heads / shape.kv_heads);
    // Later queries see more keys, so their blocks are started first.
    tile_ = static_cast<int>(gridDim.y - 1 - blockIdx.y);
    const int first_row = static_cast<int>(shape.first_counted) * shared_heads_ + tile_ * S::kRows;
    const int rows = static_cast<int>(shape.tokens) * shared_heads_;
    first_query_ = first_row / shared_heads_;
    last_query_ = (min(first_row + S::kRows, rows) - 1) / shared_heads_;
    own_row_ = first_row + threadIdx.x / 32 * 16 * S::kRowTiles + lane_ / 4;
#pragma unroll
    for (int i = 0; i < kRowsOfLane; ++i) {
      const int row = own_row_ + 8 * i;
      query_[i] = row < rows ? row / shared_heads_ : -1;
      largest_[i] = -INFINITY;
#pragma unroll
      for (int side = 0; side < kSides; ++side) {
        // A row that is not there has no weights, because its scores are below its sum.
        shift_[side][i] =
            row < rows ? kLog2E * comparison_.sides[side].log_sums[PlaceOf(row)] : INFINITY;
      }
    }
    ReadQueries(rows);
  }

  __device__ void Run() {
    const int window = static_cast<int>(comparison_.shape.sliding_window);
    const int first_key = window > 0 ? max(0, first_query_ - window + 1) : 0;
    const int first_stage = first_key / S::kKeys, end_stage = last_query_ / S::kKeys + 1;
    CopyStage(first_stage);
    for (int stage = first_stage; stage < end_stage; ++stage) {
      if (stage + 1 < end_stage) {
        CopyStage(stage + 1);
        asm volatile("cp.async.wait_group 1;" ::: "memory");
      } else {
        asm volatile("cp.async.wait_group 0;" ::: "memory");
      }
      __syncthreads();
      if (IsPlain(stage)) {
        CompareStage<true>(stage);
      } else {
        CompareStage<false>(stage);
      }
      __syncthreads();
    }
  }

  __device__ void Store(double (&of_warp)[kWarps][kFormats]) {
#pragma unroll
    for (int i = 0; i < kRowsOfLane; ++i) {
      float largest = fmaxf(largest_[i], __shfl_xor_sync(0xffffffffu, largest_[i], 1));
      largest = fmaxf(largest, __shfl_xor_sync(0xffffffffu, largest, 2));
      if (lane_ % 4 == 0 && query_[i] >= 0)
        comparison_.largest[PlaceOf(own_row_ + 8 * i)] = Exp2(largest * kLog2E - shift_[0][i]);
    }
#pragma unroll
    for (int format = 0; format < kFormats; ++format) {
      const float error = WarpReduce(error_[format], Plus());
      if (lane_ == 0) of_warp[threadIdx.x / 32][format] = static_cast<double>(error);
    }
    __syncthreads();
    if (threadIdx.x >= kFormats) return;
    double sum = 0;
    for (int warp = 0; warp < kWarps; ++warp) sum += of_warp[warp][threadIdx.x];
    const int64_t head = threadIdx.x * static_cast<int64_t>(gridDim.x) + blockIdx.x;
    comparison_.errors[head * gridDim.y + tile_] = sum;
  }

 private:
  __device__ int64_t HeadOf(int row) const {
    return static_cast<int64_t>(blockIdx.x) * shared_heads_ + row % shared_heads_;
  }
  // Where a row's query and head are in [query_heads, tokens].
  __device__ int64_t PlaceOf(int row) const {
    return HeadOf(row) * comparison_.shape.tokens + row / shared_heads_;
  }

  __device__ void ReadQueries(int rows) {
    const CudaAttentionShape& shape = comparison_.shape;
    const int head_dim = static_cast<int>(shape.head_dim);
#pragma unroll
    for (int i = 0; i < kRowsOfLane; ++i) {
      const int row = own_row_ + 8 * i;
      const T* query = static_cast<const T*>(comparison_.query) +
                       HeadOf(row) * shape.query_head_stride +
                       row / shared_heads_ * shape.query_token_stride;
#pragma unroll
      for (int step = 0; step < kDim / 16; ++step) {
#pragma unroll
        for (int half = 0; half < 2; ++half) {
          const int channel = 16 * step + 8 * half + 2 * (lane_ % 4);
          const bool present = row < rows && channel < head_dim;
          queries_[i / 2][step][2 * half + i % 2] =
              present ? *reinterpret_cast<const uint32_t*>(query + channel) : 0u;
        }
      }
    }
  }

  // Chunk c of row r lies at chunk c ^ (r % 8), so that 8 rows of a matrix are in different banks.
  __device__ static uint32_t Offset(int row, int chunk) {
    return static_cast<uint32_t>(row * S::kChunks + (chunk ^ (row % 8))) * 16;
  }

  __device__ void CopyStage(int stage) {
    const CudaAttentionShape& shape = comparison_.shape;
    const int head_dim = static_cast<int>(shape.head_dim);
#pragma unroll
    for (int side = 0; side < kSides; ++side) {
      const T* keys = static_cast<const T*>(comparison_.sides[side].keys) +
                      static_cast<int64_t>(blockIdx.x) * shape.tokens * head_dim;
      const uint32_t to = StageAddress(stage) + side * kSideBytes;
      for (int i = threadIdx.x; i < S::kKeys * S::kChunks; i += kThreads) {
        const int row = i / S::kChunks, chunk = i % S::kChunks;
        const int64_t key = stage * S::kKeys + row;
        const bool present = key < shape.tokens && chunk * 8 < head_dim;
        CopyAsync(to + Offset(row, chunk), present ? keys + key * head_dim + chunk * 8 : keys,
                  present);
      }
    }
    asm volatile("cp.async.commit_group;" ::: "memory");
  }

  __device__ uint32_t StageAddress(int stage) const {
    return shared_ + stage % 2 * (kSides * kSideBytes);
  }

  // Whether every query of the block sees all keys of the stage, and sees them quantized.
  __device__ bool IsPlain(int stage) const {
    const int first_key = stage * S::kKeys, last_key = first_key + S::kKeys - 1;
    const int window = static_cast<int>(comparison_.shape.sliding_window);
    bool plain = last_key <= first_query_ && (window == 0 || first_key > last_query_ - window);
#pragma unroll
    for (int format = 0; format < kFormats; ++format)
      plain = plain && last_key < OwnGroup(first_query_, format);
    return plain;
  }

  // The first key of the group that a query belongs to.
  __device__ int OwnGroup(int query, int format) const {
    const int window = static_cast<int>(comparison_.sides[1 + format].window_tokens);
    return window > 0 ? query / window * window : kNever;
  }

  template <bool kPlain>
  __device__ void CompareStage(int stage) {
    const uint32_t address = StageAddress(stage);
#pragma unroll 1
    for (int first = 0; first < S::kKeys; first += 8) {
      float scores[kSides][S::kRowTiles][4] = {};
#pragma unroll
      for (int step = 0; step < kDim / 32; ++step) {
        const uint32_t offset = Offset(first + lane_ % 8, 4 * step + lane_ / 8);
#pragma unroll
        for (int side = 0; side < kSides; ++side) {
          uint32_t keys[4];
          ReadMatrices(address + side * kSideBytes + offset, keys);
#pragma unroll
          for (int tile = 0; tile < S::kRowTiles; ++tile) {
            Multiply(scores[side][tile], queries_[tile][2 * step], keys[0], keys[1]);
            Multiply(scores[side][tile], queries_[tile][2 * step + 1], keys[2], keys[3]);
          }
        }
      }
      Compare<kPlain>(scores, stage * S::kKeys + first + 2 * (lane_ % 4));
    }
  }

  __device__ static void Multiply(float (&scores)[4], const uint32_t (&query)[4], uint32_t b0,
                                  uint32_t b1) {
    MultiplyAdd<std::is_same_v<T, __nv_bfloat16>>(scores, query[0], query[1], query[2], query[3],
                                                  b0, b1);
  }

  // first_key: the key of the lane's first column
  template <bool kPlain>
  __device__ void Compare(const float (&scores)[kSides][S::kRowTiles][4], int first_key) {
    const int window = static_cast<int>(comparison_.shape.sliding_window);
#pragma unroll
    for (int i = 0; i < kRowsOfLane; ++i) {
#pragma unroll
      for (int column = 0; column < 2; ++column) {
        const int element = i % 2 * 2 + column, key = first_key + column;
        const float exact_score = scores[0][i / 2][element];
        if (!kPlain && (key > query_[i] || (window > 0 && key <= query_[i] - window))) continue;
        largest_[i] = fmaxf(largest_[i], exact_score);
        const float exact = Exp2(exact_score * kLog2E - shift_[0][i]);
#pragma unroll
        for (int format = 0; format < kFormats; ++format) {
          const bool own = !kPlain && key >= OwnGroup(query_[i], format);
          const float score = own ? exact_score : scores[1 + format][i / 2][element];
          const float weight = Exp2(score * kLog2E - shift_[1 + format][i]);
          error_[format] += fabsf(exact - weight);
        }
      }
    }
  }

  const Comparison<kFormats>& comparison_;
  uint32_t shared_;
  int lane_;
  int shared_heads_, tile_;
  int first_query_, last_query_;  // of the block
  int own_row_;                   // the lane's first row; the others follow at distances of 8
  int query_[kRowsOfLane];        // -1 for a row that is not there
  uint32_t queries_[S::kRowTiles][kDim / 16][4];
  float shift_[kSides][kRowsOfLane];  // log2 of the sum of a row
  float largest_[kRowsOfLane];        // the largest exact score so far
  float error_[kFormats] = {};
};

template <typename T, int kDim, int kFormats>
__global__ void __launch_bounds__(kThreads, 3)
    WeightErrorsKernel(const __grid_constant__ Comparison<kFormats> comparison) {
  extern __shared__ uint4 stages[];
  __shared__ double of_warp[kWarps][kFormats];
  WeightComparison<T, kDim, kFormats> work(comparison, stages);
  work.Run();
  work.Store(of_warp);
}

template <typename T, int kDim, int kFormats>
void Launch(const CudaPlace& place, const Comparison<kFormats>& comparison) {
  constexpr uint32_t kBytes = WeightComparison<T, kDim, kFormats>::kSharedBytes;
  const auto kernel = WeightErrorsKernel<T, kDim, kFormats>;
  cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, kBytes);
  const dim3 blocks(static_cast<unsigned>(comparison.shape.kv_heads),
                    static_cast<unsigned>(WeightErrorParts(comparison.shape)));
  kernel<<<blocks, kThreads, kBytes, StreamOf(place)>>>(comparison);
  RequireLaunched(kDoing);
}

template <typename T, int kFormats>
void LaunchForWidth(const CudaPlace& place, const Comparison<kFormats>& comparison) {
  const int64_t head_dim = comparison.shape.head_dim;
  if (head_dim <= 64) return Launch<T, 64>(place, comparison);
  if (head_dim <= 128) return Launch<T, 128>(place, comparison);
  return Launch<T, 256>(place, comparison);
}

template <int kFormats>
void CompareSome(const CudaPlace& place, Comparison<kFormats> comparison,
                 std::span<const CudaKeys> formats) {
  std::ranges::copy(formats, comparison.sides + 1);
  WithHalfType(place.type, [&](auto* element) {
    LaunchForWidth<std::remove_pointer_t<decltype(element)>>(place, comparison);
  });
}

}  // namespace

bool CanCompareWeightsOnCuda(ElementType type, int64_t head_dim) {
  return type != ElementType::kFloat32 && head_dim % 8 == 0 && head_dim > 0 && head_dim <= 256;
}

int64_t WeightErrorParts(const CudaAttentionShape& shape) {
  const int64_t rows_of_part = shape.head_dim <= 128 ? Sizes<128>::kRows : Sizes<256>::kRows;
  const int64_t rows = (shape.tokens - shape.first_counted) * (shape.query_heads / shape.kv_heads);
  return (rows + rows_of_part - 1) / rows_of_part;
}

void CompareWeightsOnCuda(const CudaPlace& place, const CudaAttentionShape& shape,
                          const void* query, const CudaKeys& exact,
                          std::span<const CudaKeys> formats, double* errors, float* largest) {
  if (WeightErrorParts(shape) <= 0) return;
  const CurrentDevice current(place.device);
  const int64_t sums_of_format = shape.kv_heads * WeightErrorParts(shape);
  while (!formats.empty()) {
    if (formats.size() >= kMostFormats) {
      CompareSome<kMostFormats>(place, {shape, query, {exact}, errors, largest},
                                formats.first(kMostFormats));
      formats = formats.subspan(kMostFormats);
      errors += kMostFormats * sums_of_format;
    } else {
      CompareSome<1>(place, {shape, query, {exact}, errors, largest}, formats.first(1));
      formats = formats.subspan(1);
      errors += sums_of_format;
    }
  }
}

}  // namespace kvtune
