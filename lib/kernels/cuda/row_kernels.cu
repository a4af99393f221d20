#include <algorithm>

#include "lib/kernels/cuda/device.cuh"
#include "lib/kernels/cuda/row_kernels.h"

namespace kvtune {
namespace {

constexpr int kThreads = 256;
constexpr char kDoing[] = "running a layer";
constexpr char kMeasuring[] = "measuring errors";

// Sums over a block of kThreads threads. Every thread gets the sum.
__device__ float BlockSum(float x) {
  __shared__ float of_warp[kThreads / 32];
  x = WarpReduce(x, Plus());
  __syncthreads();  // the shared sums of an earlier call have been read
  if (threadIdx.x % 32 == 0) of_warp[threadIdx.x / 32] = x;
  __syncthreads();
  float sum = 0;
  for (int i = 0; i < kThreads / 32; ++i) sum += of_warp[i];
  return sum;
}

// One block takes one row. With delta, the row becomes before + scale * delta first; otherwise it
// is only read. A row stays in the level-1 cache between its two readings.
template <typename T, typename P>
__global__ void NormKernel(const T* before, const T* delta, float scale, const void* weight,
                           bool weight_in_float32, float eps, int64_t width, T* rows, T* out) {
  const int64_t begin = static_cast<int64_t>(blockIdx.x) * width;
  const P* source = reinterpret_cast<const P*>(before + begin);
  P* row = reinterpret_cast<P*>(rows + begin);
  const int64_t packs = width / P::kSize;
  float squares = 0;
#pragma unroll 2
  for (int64_t i = threadIdx.x; i < packs; i += kThreads) {
    P pack = source[i];
    if (delta != nullptr) {
      const P change = reinterpret_cast<const P*>(delta + begin)[i];
      for (int k = 0; k < P::kSize; ++k)
        Store(Load(pack.elements[k]) + scale * Load(change.elements[k]), &pack.elements[k]);
      row[i] = pack;
    }
    for (int k = 0; k < P::kSize; ++k) {
      const float x = Load(pack.elements[k]);
      squares += x * x;
    }
  }
  const float factor = 1.0f / sqrtf(BlockSum(squares) / static_cast<float>(width) + eps);
  for (int64_t i = threadIdx.x; i < packs; i += kThreads) {
    const P pack = row[i];
    P normed;
    if (weight_in_float32) {
      for (int k = 0; k < P::kSize; ++k) {
        Store(Load(pack.elements[k]) * factor * static_cast<const float*>(weight)[i * P::kSize + k],
              &normed.elements[k]);
      }
    } else {
      const P weights = static_cast<const P*>(weight)[i];
      for (int k = 0; k < P::kSize; ++k) {
        Store(Rounded<T>(Load(pack.elements[k]) * factor) * Load(weights.elements[k]),
              &normed.elements[k]);
      }
    }
    reinterpret_cast<P*>(out + begin)[i] = normed;
  }
}

template <typename T>
bool Packs(int64_t width, std::initializer_list<const void*> pointers) {
  return width % Pack<T>::kSize == 0 && std::ranges::all_of(pointers, [](const void* pointer) {
           return reinterpret_cast<uintptr_t>(pointer) % sizeof(Pack<T>) == 0;
         });
}

// Calls `function` with a null pointer to what a thread takes at a time: to a Pack where packs fit,
// otherwise to a Single.
template <typename T, typename Function>
void WithPack(bool fits, const Function& function) {
  if (fits) {
    function(static_cast<Pack<T>*>(nullptr));
  } else {
    function(static_cast<Single<T>*>(nullptr));
  }
}

// Without a delta `rows` are those before, which the kernel only reads.
void LaunchNorm(const CudaPlace& place, const void* before, const void* delta, float scale,
                const CudaNorm& norm, int64_t row_count, int64_t width, void* rows, void* out) {
  if (row_count == 0) return;
  const CurrentDevice current(place.device);
  WithElementType(place.type, [&](auto* element) {
    using T = std::remove_pointer_t<decltype(element)>;
    WithPack<T>(Packs<T>(width, {before, rows, delta, norm.weight, out}), [&](auto* pack) {
      using P = std::remove_pointer_t<decltype(pack)>;
      NormKernel<T, P><<<static_cast<unsigned>(row_count), kThreads, 0, StreamOf(place)>>>(
          static_cast<const T*>(before), static_cast<const T*>(delta), scale, norm.weight,
          norm.in_float32, norm.eps, width, static_cast<T*>(rows), static_cast<T*>(out));
    });
  });
  RequireLaunched(kDoing);
}

__device__ float Activate(float x, Activation activation) {
  if (activation == Activation::kSilu) return x / (1.0f + expf(-x));
  constexpr float kBeta = 0.7978845608028654f;  // sqrt(2 / pi)
  return 0.5f * x * (1.0f + tanhf(kBeta * (x + 0.044715f * x * x * x)));
}

template <typename T, typename P>
__global__ void GatedKernel(const T* gate_up, int64_t packs, int64_t width, Activation activation,
                            T* out) {
  const int64_t index = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (index >= packs) return;
  const int64_t packs_of_row = width / P::kSize;
  const int64_t row = index / packs_of_row, column = index % packs_of_row;
  const P* gates = reinterpret_cast<const P*>(gate_up + row * 2 * width);
  const P gate = gates[column], up = gates[packs_of_row + column];
  P result;
  for (int k = 0; k < P::kSize; ++k) {
    const float activated = Rounded<T>(Activate(Load(gate.elements[k]), activation));
    Store(activated * Load(up.elements[k]), &result.elements[k]);
  }
  reinterpret_cast<P*>(out)[index] = result;
}

// Each thread takes one pack of one row.
template <typename T, typename P>
__global__ void SumChoicesKernel(const T* results, const int64_t* places, const T* weights,
                                 int64_t packs, int64_t choices, int64_t width, T* out) {
  const int64_t index = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (index >= packs) return;
  const int64_t packs_of_row = width / P::kSize;
  const int64_t row = index / packs_of_row, column = index % packs_of_row;
  float sums[P::kSize] = {};
  for (int64_t choice = row * choices; choice < (row + 1) * choices; ++choice) {
    const P result = reinterpret_cast<const P*>(results + places[choice] * width)[column];
    const float weight = Load(weights[choice]);
    for (int k = 0; k < P::kSize; ++k) sums[k] += weight * Load(result.elements[k]);
  }
  P sum;
  for (int k = 0; k < P::kSize; ++k) Store(sums[k], &sum.elements[k]);
  reinterpret_cast<P*>(out)[index] = sum;
}

// A row of threads takes a row of heads, those of one token, and each thread some packs of it.
// Packs of rotated channels lie in one half of them, and their partners in the other one.
template <typename T, typename P>
__global__ void GatherHeadsKernel(const T* projected, HeadLayout layout, CudaGather gather,
                                  uint32_t rows, T* out) {
  // Divisions are of 32 bits, because those of 64 would be most of the work.
  const uint32_t row = blockIdx.x * blockDim.y + threadIdx.y;
  if (row >= rows) return;
  const auto tokens = static_cast<uint32_t>(layout.tokens);
  const int64_t token = row % tokens, sequence = row / tokens;
  const T* source_row = projected + row * layout.row_width + layout.first_channel;
  const auto heads = static_cast<uint32_t>(layout.heads);
  const auto packs_of_head = static_cast<uint32_t>(layout.head_dim / P::kSize);
  const auto half = static_cast<uint32_t>(gather.rotary_dim / 2);
  const T* cosines = static_cast<const T*>(gather.cos) + token * half;
  const T* sines = static_cast<const T*>(gather.sin) + token * half;
  for (uint32_t place = threadIdx.x; place < heads * packs_of_head; place += blockDim.x) {
    const uint32_t head = place / packs_of_head, channel = place % packs_of_head * P::kSize;
    const T* source = source_row + head * layout.head_dim + channel;
    P pack = *reinterpret_cast<const P*>(source);
    float x[P::kSize];
    for (int k = 0; k < P::kSize; ++k) x[k] = Load(pack.elements[k]);
    if (channel < 2 * half && head < gather.rotated_heads) {
      const bool first = channel < half;
      const uint32_t turn = first ? channel : channel - half;
      const P c = *reinterpret_cast<const P*>(cosines + turn);
      const P s = *reinterpret_cast<const P*>(sines + turn);
      const P partner = *reinterpret_cast<const P*>(first ? source + half : source - half);
      for (int k = 0; k < P::kSize; ++k) {
        const float straight = Rounded<T>(x[k] * Load(c.elements[k]));
        const float across = Rounded<T>(Load(partner.elements[k]) * Load(s.elements[k]));
        x[k] = Rounded<T>(first ? straight - across : straight + across);
      }
    }
    const float scale = head < gather.scaled_heads ? gather.scale : 1;
    for (int k = 0; k < P::kSize; ++k) Store(x[k] * scale, &pack.elements[k]);
    const int64_t to =
        gather.by_token ? int64_t{row} * heads + head : (sequence * heads + head) * tokens + token;
    *reinterpret_cast<P*>(out + to * layout.head_dim + channel) = pack;
  }
}

// The largest score of a row and the sum of exp(score - max).
struct SoftmaxSum {
  float max, sum;
};

__device__ SoftmaxSum Joined(SoftmaxSum a, SoftmaxSum b) {
  const float max = fmaxf(a.max, b.max);
  if (max == -INFINITY) return {max, 0};
  return {max, a.sum * expf(a.max - max) + b.sum * expf(b.max - max)};
}

// One block takes one row, which stays in the level-1 cache between its readings.
template <typename T>
__global__ void CausalSoftmaxKernel(T* scores, ScoreLayout layout, const T* sinks) {
  const int64_t row = blockIdx.x % layout.rows, matrix = blockIdx.x / layout.rows;
  T* own = scores + static_cast<int64_t>(blockIdx.x) * layout.columns;
  const int64_t seen = layout.first_visible + row;
  const int64_t end = seen < layout.columns ? seen : layout.columns;
  const int64_t begin = layout.window > 0 && seen > layout.window ? seen - layout.window : 0;
  SoftmaxSum sum{-INFINITY, 0};
  for (int64_t i = begin + threadIdx.x; i < end; i += kThreads)
    sum = Joined(sum, {Load(own[i]), 1});
  for (int offset = 16; offset > 0; offset /= 2) {
    sum = Joined(sum, {__shfl_xor_sync(0xffffffffu, sum.max, offset),
                       __shfl_xor_sync(0xffffffffu, sum.sum, offset)});
  }
  __shared__ SoftmaxSum of_warp[kThreads / 32];
  if (threadIdx.x % 32 == 0) of_warp[threadIdx.x / 32] = sum;
  __syncthreads();
  SoftmaxSum whole = of_warp[0];
  for (int i = 1; i < kThreads / 32; ++i) whole = Joined(whole, of_warp[i]);
  if (sinks != nullptr) whole = Joined(whole, {Load(sinks[matrix % layout.heads]), 1});
  for (int64_t i = threadIdx.x; i < layout.columns; i += kThreads) {
    const bool visible = i >= begin && i < end;
    Store(visible ? expf(Load(own[i]) - whole.max) / whole.sum : 0.0f, &own[i]);
  }
}

// The sums of CudaErrorSums.
struct ErrorSum {
  float of[CudaErrorSums::kCount] = {};

  __device__ void Add(float x, float approximation) {
    const float magnitude = fabsf(x), distance = fabsf(x - approximation);
    of[0] += distance;
    of[1] += magnitude;
    if (magnitude > 0) {
      of[2] += distance / magnitude;
      of[3] += 1;
    }
  }
};

// Block (part, head) sums one part of one head.
template <typename T, typename P>
__global__ void SumErrorsKernel(const T* x, const T* approximation, CudaHeadRows layout,
                                double* parts) {
  const int64_t first = static_cast<int64_t>(blockIdx.x) * CudaErrorSums::kChunk;
  const int64_t left = layout.rows * layout.width - first;
  const int64_t end = first + (left < CudaErrorSums::kChunk ? left : CudaErrorSums::kChunk);
  const int64_t head = static_cast<int64_t>(blockIdx.y) * layout.head_stride;
  ErrorSum sum;
  for (int64_t i = first + threadIdx.x * P::kSize; i < end; i += kThreads * P::kSize) {
    const int64_t at = head + i / layout.width * layout.row_stride + i % layout.width;
    const P exact = *reinterpret_cast<const P*>(x + at);
    const P near = *reinterpret_cast<const P*>(approximation + at);
    for (int k = 0; k < P::kSize; ++k) sum.Add(Load(exact.elements[k]), Load(near.elements[k]));
  }
  double* part =
      parts + (static_cast<int64_t>(blockIdx.y) * gridDim.x + blockIdx.x) * CudaErrorSums::kCount;
  for (int i = 0; i < CudaErrorSums::kCount; ++i) {
    const float of_block = BlockSum(sum.of[i]);
    if (threadIdx.x == 0) part[i] = static_cast<double>(of_block);
  }
}

// Block (part, head) takes some tokens of one head, and each of its threads one channel.
template <typename T>
__global__ void SumChannelErrorsKernel(const T* x, const T* approximation, int64_t tokens,
                                       double* parts) {
  const int64_t first = static_cast<int64_t>(blockIdx.x) * CudaErrorSums::kChunkTokens;
  const int64_t left = tokens - first;
  const int64_t count = left < CudaErrorSums::kChunkTokens ? left : CudaErrorSums::kChunkTokens;
  const int64_t begin = (blockIdx.y * tokens + first) * blockDim.x + threadIdx.x;
  ErrorSum sum;
#pragma unroll 8
  for (int64_t token = 0; token < count; ++token) {
    const int64_t at = begin + token * blockDim.x;
    sum.Add(Load(x[at]), Load(approximation[at]));
  }
  double* part = parts + ((static_cast<int64_t>(blockIdx.y) * gridDim.x + blockIdx.x) * blockDim.x +
                          threadIdx.x) *
                             CudaErrorSums::kCount;
  for (int i = 0; i < CudaErrorSums::kCount; ++i) part[i] = static_cast<double>(sum.of[i]);
}

// Mixes the bits of a number (splitmix64, Steele et al. 2014).
__device__ uint64_t Mixed(uint64_t x) {
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

template <typename T>
__global__ void RoundingNoiseKernel(T* elements, int64_t count, double step, uint64_t seed) {
  const int64_t index = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (index >= count) return;
  const uint64_t mixed = Mixed(Mixed(seed) + static_cast<uint64_t>(index) * 0x9e3779b97f4a7c15u);
  const double factor = mixed % 2 == 0 ? 1 - step : 1 + step;
  Store(static_cast<float>(static_cast<double>(Load(elements[index])) * factor), &elements[index]);
}

}  // namespace

void RmsNormOnCuda(const CudaPlace& place, const void* rows, const CudaNorm& norm,
                   int64_t row_count, int64_t width, void* out) {
  // Without a delta the kernel only reads the rows.
  LaunchNorm(place, rows, nullptr, 0, norm, row_count, width, const_cast<void*>(rows), out);
}

void AddAndNormOnCuda(const CudaPlace& place, const void* before, const void* delta, float scale,
                      const CudaNorm& norm, int64_t row_count, int64_t width, void* rows,
                      void* out) {
  LaunchNorm(place, before, delta, scale, norm, row_count, width, rows, out);
}

void GatedOnCuda(const CudaPlace& place, const void* gate_up, int64_t row_count, int64_t width,
                 Activation activation, void* out) {
  if (row_count == 0) return;
  const CurrentDevice current(place.device);
  WithElementType(place.type, [&](auto* element) {
    using T = std::remove_pointer_t<decltype(element)>;
    WithPack<T>(Packs<T>(width, {gate_up, out}), [&](auto* pack) {
      using P = std::remove_pointer_t<decltype(pack)>;
      const int64_t packs = row_count * width / P::kSize;
      GatedKernel<T, P><<<BlocksFor(packs, kThreads), kThreads, 0, StreamOf(place)>>>(
          static_cast<const T*>(gate_up), packs, width, activation, static_cast<T*>(out));
    });
  });
  RequireLaunched(kDoing);
}

void SumChoicesOnCuda(const CudaPlace& place, const void* results, const int64_t* places,
                      const void* weights, int64_t row_count, int64_t choices, int64_t width,
                      void* out) {
  if (row_count == 0) return;
  const CurrentDevice current(place.device);
  WithElementType(place.type, [&](auto* element) {
    using T = std::remove_pointer_t<decltype(element)>;
    WithPack<T>(Packs<T>(width, {results, out}), [&](auto* pack) {
      using P = std::remove_pointer_t<decltype(pack)>;
      const int64_t packs = row_count * width / P::kSize;
      SumChoicesKernel<T, P><<<BlocksFor(packs, kThreads), kThreads, 0, StreamOf(place)>>>(
          static_cast<const T*>(results), places, static_cast<const T*>(weights), packs, choices,
          width, static_cast<T*>(out));
    });
  });
  RequireLaunched(kDoing);
}

void GatherHeadsOnCuda(const CudaPlace& place, const void* projected, const HeadLayout& layout,
                       const CudaGather& gather, void* out) {
  const int64_t rows = layout.sequences * layout.tokens, width = layout.heads * layout.head_dim;
  if (rows * width == 0) return;
  const CurrentDevice current(place.device);
  WithElementType(place.type, [&](auto* element) {
    using T = std::remove_pointer_t<decltype(element)>;
    const int64_t size = Pack<T>::kSize;
    // Every row, head and half of the rotated channels has to begin with a pack.
    const bool fits = Packs<T>(layout.head_dim, {projected, gather.cos, gather.sin, out}) &&
                      layout.row_width % size == 0 && layout.first_channel % size == 0 &&
                      gather.rotary_dim / 2 % size == 0;
    WithPack<T>(fits, [&](auto* pack) {
      using P = std::remove_pointer_t<decltype(pack)>;
      // Whole warps for a row, and several rows where one of them leaves threads idle.
      const int64_t warps = std::clamp<int64_t>(width / P::kSize / 32, 1, kThreads / 32);
      const dim3 threads(static_cast<unsigned>(32 * warps),
                         static_cast<unsigned>(kThreads / 32 / warps));
      GatherHeadsKernel<T, P><<<BlocksFor(rows, threads.y), threads, 0, StreamOf(place)>>>(
          static_cast<const T*>(projected), layout, gather, static_cast<uint32_t>(rows),
          static_cast<T*>(out));
    });
  });
  RequireLaunched(kDoing);
}

void CausalSoftmaxOnCuda(const CudaPlace& place, void* scores, const ScoreLayout& layout,
                         const void* sinks) {
  const int64_t rows = layout.matrices * layout.rows;
  if (rows == 0) return;
  const CurrentDevice current(place.device);
  WithElementType(place.type, [&](auto* element) {
    using T = std::remove_pointer_t<decltype(element)>;
    CausalSoftmaxKernel<T><<<static_cast<unsigned>(rows), kThreads, 0, StreamOf(place)>>>(
        static_cast<T*>(scores), layout, static_cast<const T*>(sinks));
  });
  RequireLaunched(kDoing);
}

void SumErrorsOnCuda(const CudaPlace& place, const void* x, const void* approximation,
                     const CudaHeadRows& layout, double* parts) {
  const int64_t elements = layout.rows * layout.width;
  if (layout.heads * elements == 0) return;
  const CurrentDevice current(place.device);
  const dim3 blocks(static_cast<unsigned>(CudaErrorSums::PartsOf(elements)),
                    static_cast<unsigned>(layout.heads));
  WithElementType(place.type, [&](auto* element) {
    using T = std::remove_pointer_t<decltype(element)>;
    const int64_t size = Pack<T>::kSize;
    const bool fits = Packs<T>(layout.width, {x, approximation}) &&
                      layout.head_stride % size == 0 && layout.row_stride % size == 0;
    WithPack<T>(fits, [&](auto* pack) {
      using P = std::remove_pointer_t<decltype(pack)>;
      SumErrorsKernel<T, P><<<blocks, kThreads, 0, StreamOf(place)>>>(
          static_cast<const T*>(x), static_cast<const T*>(approximation), layout, parts);
    });
  });
  RequireLaunched(kMeasuring);
}

void SumChannelErrorsOnCuda(const CudaPlace& place, const void* x, const void* approximation,
                            int64_t heads, int64_t tokens, int64_t head_dim, double* parts) {
  if (heads * tokens * head_dim == 0) return;
  const CurrentDevice current(place.device);
  const dim3 blocks(static_cast<unsigned>(CudaErrorSums::ChannelPartsOf(tokens)),
                    static_cast<unsigned>(heads));
  WithElementType(place.type, [&](auto* element) {
    using T = std::remove_pointer_t<decltype(element)>;
    SumChannelErrorsKernel<T><<<blocks, static_cast<unsigned>(head_dim), 0, StreamOf(place)>>>(
        static_cast<const T*>(x), static_cast<const T*>(approximation), tokens, parts);
  });
  RequireLaunched(kMeasuring);
}

void AddRoundingNoiseOnCuda(const CudaPlace& place, void* elements, int64_t count, double step,
                            uint64_t seed) {
  if (count == 0) return;
  const CurrentDevice current(place.device);
  WithElementType(place.type, [&](auto* element) {
    using T = std::remove_pointer_t<decltype(element)>;
    RoundingNoiseKernel<T><<<BlocksFor(count, kThreads), kThreads, 0, StreamOf(place)>>>(
        static_cast<T*>(elements), count, step, seed);
  });
  RequireLaunched(kDoing);
}

}  // namespace kvtune
