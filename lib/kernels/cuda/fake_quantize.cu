#include <algorithm>
#include <bit>
#include <cstdint>
#include <string>

#include "lib/kernels/cuda/device.cuh"
#include "lib/kernels/cuda/fake_quantize.h"
#include "lib/kernels/kvtuner_row.h"

namespace kvtune {
namespace {

constexpr int kLargestHeadCount = 256;
constexpr int kThreads = 64;
constexpr size_t kSharedBytes = 48 * 1024;  // every device has as much without being asked for more

// The scales are passed by value, as the arguments of a kernel are.
struct StaticScales {
  float of_head[kLargestHeadCount];
  int count;
};

// The heads of a block lie in shared memory, one for each thread, so that global memory is read in
// order. The stride head_dim + 1 keeps the elements of different threads in different banks.
template <typename T>
__global__ void RoundTripHeadsKernel(const T* in, T* out, int64_t rows, int64_t tokens,
                                     int64_t head_dim, HeadArithmetic arithmetic,
                                     StaticScales scales) {
  extern __shared__ float heads[];
  const int64_t first = static_cast<int64_t>(blockIdx.x) * blockDim.x;
  const int64_t count = rows - first < blockDim.x ? rows - first : blockDim.x;
  const int64_t stride = head_dim + 1;
  for (int64_t i = threadIdx.x; i < count * head_dim; i += blockDim.x) {
    heads[i / head_dim * stride + i % head_dim] = Load(in[first * head_dim + i]);
  }
  __syncthreads();
  if (threadIdx.x < count) {
    const int64_t head = (first + threadIdx.x) / tokens;
    const float scale = scales.count == 0 ? 1.0f : scales.of_head[head % scales.count];
    RoundTripHead({heads + threadIdx.x * stride, head_dim, 1}, arithmetic, scale);
  }
  __syncthreads();
  for (int64_t i = threadIdx.x; i < count * head_dim; i += blockDim.x) {
    Store(heads[i / head_dim * stride + i % head_dim], &out[first * head_dim + i]);
  }
}

// Each thread takes one channel of one group, and neighbouring threads take neighbouring channels.
template <typename T>
__global__ void RoundTripColumnsKernel(const T* in, T* out, int64_t columns, int64_t head_dim,
                                       HeadArithmetic arithmetic) {
  extern __shared__ float elements[];
  const int64_t column = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (column >= columns) return;
  const int64_t first = column / head_dim * arithmetic.group * head_dim + column % head_dim;
  float* own = elements + threadIdx.x;
  for (int64_t t = 0; t < arithmetic.group; ++t)
    own[t * blockDim.x] = Load(in[first + t * head_dim]);
  RoundTripRow({own, arithmetic.group, blockDim.x}, {arithmetic.numerics, arithmetic.bits});
  for (int64_t t = 0; t < arithmetic.group; ++t)
    Store(own[t * blockDim.x], &out[first + t * head_dim]);
}

template <typename T>
struct RoundTo {
  __device__ float operator()(float x) const { return Rounded<T>(x); }
};

// One warp takes one group of a head. The last group of a head may be shorter.
template <typename T>
__global__ void KvtunerRowsKernel(const T* in, T* out, int64_t rows, int64_t groups,
                                  int64_t head_dim, int64_t group, int bits) {
  const int64_t index = (static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x) / 32;
  if (index >= rows * groups) return;
  const int64_t begin = index / groups * head_dim + index % groups * group;
  const int64_t left = head_dim - index % groups * group;
  const int64_t count = left < group ? left : group;
  const int lane = threadIdx.x % 32;
  float low = INFINITY, high = -INFINITY;
  for (int64_t i = lane; i < count; i += 32) {
    const float x = Load(in[begin + i]);
    low = fminf(low, x);
    high = fmaxf(high, x);
  }
  const KvtunerRow<RoundTo<T>> row(WarpReduce(low, Smaller()), WarpReduce(high, Larger()), bits);
  for (int64_t i = lane; i < count; i += 32)
    Store(row.ValueOf(row.CodeOf(Load(in[begin + i]))), &out[begin + i]);
}

// The same for groups of whole packs that fill all heads: `lanes` neighbouring threads take one
// group, each of them one pack. A group is a power of two of packs, at most a warp.
template <typename T>
__global__ void KvtunerPacksKernel(const Pack<T>* in, Pack<T>* out, int64_t packs, int lanes,
                                   int bits) {
  const int64_t index = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  // All threads take part in the reduction.
  const Pack<T> pack = in[index < packs ? index : packs - 1];
  float x[Pack<T>::kSize];
  float low = INFINITY, high = -INFINITY;
#pragma unroll
  for (int k = 0; k < Pack<T>::kSize; ++k) {
    x[k] = Load(pack.elements[k]);
    low = fminf(low, x[k]);
    high = fmaxf(high, x[k]);
  }
  for (int offset = lanes / 2; offset > 0; offset /= 2) {
    low = fminf(low, __shfl_xor_sync(0xffffffffu, low, offset));
    high = fmaxf(high, __shfl_xor_sync(0xffffffffu, high, offset));
  }
  if (index >= packs) return;
  const KvtunerRow<RoundTo<T>> row(low, high, bits);
  Pack<T> stored;
#pragma unroll
  for (int k = 0; k < Pack<T>::kSize; ++k)
    Store(row.ValueOf(row.CodeOf(x[k])), &stored.elements[k]);
  out[index] = stored;
}

// Each thread takes one channel of one group of tokens.
template <typename T>
__global__ void KvtunerColumnsKernel(const T* in, T* out, int64_t columns, int64_t head_dim,
                                     int64_t group, int bits) {
  const int64_t column = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (column >= columns) return;
  const int64_t first = column / head_dim * group * head_dim + column % head_dim;
  float low = INFINITY, high = -INFINITY;
  for (int64_t t = 0; t < group; ++t) {
    const float x = Load(in[first + t * head_dim]);
    low = fminf(low, x);
    high = fmaxf(high, x);
  }
  const KvtunerRow<RoundTo<T>> row(low, high, bits);
  for (int64_t t = 0; t < group; ++t)
    Store(row.ValueOf(row.CodeOf(Load(in[first + t * head_dim]))), &out[first + t * head_dim]);
}

constexpr char kDoing[] = "quantizing a cache";

// How many packs a group has, where KvtunerPacksKernel can take it, else 0.
template <typename T>
int PacksOfGroup(const CudaHeads& x, int64_t head_dim, int64_t group) {
  const auto packs = static_cast<uint64_t>(group / Pack<T>::kSize);
  const auto is_aligned = [](const void* p) {
    return reinterpret_cast<uintptr_t>(p) % sizeof(Pack<T>) == 0;
  };
  const bool fits = group % Pack<T>::kSize == 0 && head_dim % group == 0 && packs <= 32 &&
                    std::has_single_bit(packs) && is_aligned(x.in) && is_aligned(x.out);
  return fits ? static_cast<int>(packs) : 0;
}

int ThreadsFor(size_t bytes_per_thread) {
  const size_t fitting = kSharedBytes / bytes_per_thread;
  if (fitting == 0) {
    throw Error("quantizing a cache on CUDA: found a row of " +
                std::to_string(bytes_per_thread / sizeof(float)) + " elements, expected at most " +
                std::to_string(kSharedBytes / sizeof(float)));
  }
  return static_cast<int>(std::min<size_t>(kThreads, fitting));
}

}  // namespace

void RoundTripHeadsOnCuda(const CudaHeads& x, const HeadsShape& shape,
                          const HeadArithmetic& arithmetic, std::span<const float> static_scales) {
  StaticScales scales{};
  if (static_scales.size() > kLargestHeadCount) {
    throw Error("quantizing a cache on CUDA: found " + std::to_string(static_scales.size()) +
                " KV heads, expected at most " + std::to_string(kLargestHeadCount));
  }
  std::copy(static_scales.begin(), static_scales.end(), scales.of_head);
  scales.count = static_cast<int>(static_scales.size());
  const CurrentDevice current(x.place.device);
  const int64_t rows = shape.heads * shape.tokens;
  const size_t bytes = static_cast<size_t>(shape.head_dim + 1) * sizeof(float);
  const int threads = ThreadsFor(bytes);
  WithElementType(x.place.type, [&](auto* element) {
    using T = std::remove_pointer_t<decltype(element)>;
    RoundTripHeadsKernel<T>
        <<<BlocksFor(rows, threads), threads, bytes * threads, StreamOf(x.place)>>>(
            static_cast<const T*>(x.in), static_cast<T*>(x.out), rows, shape.tokens, shape.head_dim,
            arithmetic, scales);
  });
  RequireLaunched(kDoing);
}

void RoundTripColumnsOnCuda(const CudaHeads& x, const HeadsShape& shape,
                            const HeadArithmetic& arithmetic) {
  const CurrentDevice current(x.place.device);
  const int64_t columns = shape.heads * (shape.tokens / arithmetic.group) * shape.head_dim;
  const size_t bytes = static_cast<size_t>(arithmetic.group) * sizeof(float);
  const int threads = ThreadsFor(bytes);
  WithElementType(x.place.type, [&](auto* element) {
    using T = std::remove_pointer_t<decltype(element)>;
    RoundTripColumnsKernel<T>
        <<<BlocksFor(columns, threads), threads, bytes * threads, StreamOf(x.place)>>>(
            static_cast<const T*>(x.in), static_cast<T*>(x.out), columns, shape.head_dim,
            arithmetic);
  });
  RequireLaunched(kDoing);
}

void KvtunerRowsOnCuda(const CudaHeads& x, const HeadsShape& shape, int64_t group, int bits) {
  const CurrentDevice current(x.place.device);
  const int64_t rows = shape.heads * shape.tokens;
  const int64_t groups = (shape.head_dim + group - 1) / group;
  constexpr int kWarps = 8;
  WithElementType(x.place.type, [&](auto* element) {
    using T = std::remove_pointer_t<decltype(element)>;
    if (const int lanes = PacksOfGroup<T>(x, shape.head_dim, group); lanes > 0) {
      const int64_t packs = rows * groups * lanes;
      KvtunerPacksKernel<T><<<BlocksFor(packs, 32 * kWarps), 32 * kWarps, 0, StreamOf(x.place)>>>(
          static_cast<const Pack<T>*>(x.in), static_cast<Pack<T>*>(x.out), packs, lanes, bits);
      return;
    }
    KvtunerRowsKernel<T><<<BlocksFor(rows * groups, kWarps), 32 * kWarps, 0, StreamOf(x.place)>>>(
        static_cast<const T*>(x.in), static_cast<T*>(x.out), rows, groups, shape.head_dim, group,
        bits);
  });
  RequireLaunched(kDoing);
}

void KvtunerColumnsOnCuda(const CudaHeads& x, const HeadsShape& shape, int64_t group, int bits) {
  const CurrentDevice current(x.place.device);
  const int64_t columns = shape.heads * (shape.tokens / group) * shape.head_dim;
  constexpr int kColumnThreads = 256;
  WithElementType(x.place.type, [&](auto* element) {
    using T = std::remove_pointer_t<decltype(element)>;
    KvtunerColumnsKernel<T>
        <<<BlocksFor(columns, kColumnThreads), kColumnThreads, 0, StreamOf(x.place)>>>(
            static_cast<const T*>(x.in), static_cast<T*>(x.out), columns, shape.head_dim, group,
            bits);
  });
  RequireLaunched(kDoing);
}

}  // namespace kvtune
