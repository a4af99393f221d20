#include <algorithm>
#include <cfloat>

#include "lib/kernels/cuda/device.cuh"
#include "lib/kernels/cuda/token_loss.h"

namespace kvtune {
namespace {

// A block of this size is the only one of its multiprocessor, so that the rows in work fit into the
// L2 cache together, from which they are read the second time.
constexpr int kMostThreads = 1024;
constexpr int kMostWarps = kMostThreads / 32;
constexpr char kDoing[] = "comparing logits";

// e^x, off by at most 3e-7 of itself for x from -1 to 1. Further away the rounding of x counts, as
// it does for every function of a float.
__device__ inline float Exponential(float x) { return Exp2(x * kLog2E); }

// The largest logit so far, where it is first, and the sum of exp(x - max).
struct Running {
  float max = -FLT_MAX;  // finite, so that a logit of -inf counts nothing
  float sum = 0;
  int64_t top = INT64_MAX;
};

__device__ Running Joined(const Running& a, const Running& b) {
  Running joined;
  joined.max = fmaxf(a.max, b.max);
  joined.sum = a.sum * Exponential(a.max - joined.max) + b.sum * Exponential(b.max - joined.max);
  if (a.max == joined.max) joined.top = a.top;
  if (b.max == joined.max && b.top < joined.top) joined.top = b.top;
  return joined;
}

__device__ Running OfLane(const Running& x, int offset) {
  return {__shfl_xor_sync(0xffffffffu, x.max, offset), __shfl_xor_sync(0xffffffffu, x.sum, offset),
          __shfl_xor_sync(0xffffffffu, x.top, offset)};
}

// The logits that a thread reads, in their order.
template <typename T, typename P>
__device__ Running SummaryOfThread(const T* logits, int64_t vocab) {
  Running own;
  int64_t top_pack = -1;
  const P* packs = reinterpret_cast<const P*>(logits);
#pragma unroll 2
  for (int64_t i = threadIdx.x; i < vocab / P::kSize; i += blockDim.x) {
    const P pack = packs[i];
    float largest = Load(pack.elements[0]);
#pragma unroll
    for (int k = 1; k < P::kSize; ++k) largest = fmaxf(largest, Load(pack.elements[k]));
    if (largest > own.max) {
      own.sum *= Exponential(own.max - largest);
      own.max = largest;
      top_pack = i;
    }
#pragma unroll
    for (int k = 0; k < P::kSize; ++k) own.sum += Exponential(Load(pack.elements[k]) - own.max);
  }
  if (top_pack < 0) return own;
  for (int k = P::kSize - 1; k >= 0; --k) {
    if (Load(packs[top_pack].elements[k]) == own.max) own.top = top_pack * P::kSize + k;
  }
  return own;
}

__device__ Running JoinedWarp(Running own) {
  for (int offset = 16; offset > 0; offset /= 2) own = Joined(own, OfLane(own, offset));
  return own;
}

// log(sum of exp(x)) of a row, and where its largest logit is first.
struct Summary {
  float shift;
  int64_t top;
};

// Every thread of the block gets the summary of the row, which one warp computes while the others
// wait: all of them together would take longer.
template <typename T, typename P>
__device__ Summary SummaryOf(const T* logits, int64_t vocab) {
  const Running own = JoinedWarp(SummaryOfThread<T, P>(logits, vocab));
  __shared__ Running of_warp[kMostWarps];
  __shared__ Summary of_row;
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  if (lane == 0) of_warp[warp] = own;
  __syncthreads();
  if (warp == 0) {
    const Running row = JoinedWarp(lane < blockDim.x / 32 ? of_warp[lane] : Running());
    if (lane == 0)
      of_row = {row.max + static_cast<float>(log(static_cast<double>(row.sum))), row.top};
  }
  __syncthreads();
  return of_row;
}

template <typename T, typename P>
__global__ void __launch_bounds__(kMostThreads)
    SummarizeKernel(const T* logits, int64_t vocab, CudaLogitSummaries summaries) {
  const Summary row = SummaryOf<T, P>(logits + static_cast<int64_t>(blockIdx.x) * vocab, vocab);
  if (threadIdx.x != 0) return;
  summaries.shift[blockIdx.x] = row.shift;
  summaries.top[blockIdx.x] = row.top;
}

// d + exp(-d) - 1 without cancellation: a Taylor series up to d^7 near 0, where its remainder is
// below 1e-6 of it.
__device__ float SecondOrderTerm(float d) {
  const float near =
      d * d *
      (1.0f / 2 -
       d * (1.0f / 6 - d * (1.0f / 24 - d * (1.0f / 120 - d * (1.0f / 720 - d * (1.0f / 5040))))));
  // Where p is far below q, p is about 0, and exp(-d) must not become infinite as its factor.
  const float capped = fmaxf(d, -87.0f);
  return fabsf(capped) < 0.5f ? near : capped + (Exponential(-capped) - 1);
}

// One block takes one row of one plan. Blocks that follow each other take the same row of all
// plans, so that the reference's is read from memory once.
template <typename T, typename P>
__global__ void __launch_bounds__(kMostThreads)
    TokenLossesKernel(const T* reference_logits, CudaLogitSummaries reference, const T* logits,
                      const int64_t* next_tokens, int64_t rows, int64_t vocab,
                      TokenLossArrays losses) {
  const int64_t plans = gridDim.x / rows, row = blockIdx.x / plans;
  const int64_t index = blockIdx.x % plans * rows + row;
  const T* plan = logits + index * vocab;
  const P* exact = reinterpret_cast<const P*>(reference_logits + row * vocab);
  const Summary summary = SummaryOf<T, P>(plan, vocab);
  const float plan_shift = summary.shift, exact_shift = reference.shift[row];
  double sum = 0, variation_sum = 0;
#pragma unroll 2
  for (int64_t i = threadIdx.x; i < vocab / P::kSize; i += blockDim.x) {
    const P p = exact[i], q = reinterpret_cast<const P*>(plan)[i];
    float of_pack = 0, variation_of_pack = 0;
#pragma unroll
    for (int k = 0; k < P::kSize; ++k) {
      const float log_p = Load(p.elements[k]) - exact_shift;
      const float d = log_p - (Load(q.elements[k]) - plan_shift);
      const float probability = Exponential(log_p), term = SecondOrderTerm(d);
      of_pack += probability * term;
      variation_of_pack += probability * fmaxf(d - term, 0.0f);  // p - q, where p is larger
    }
    sum += static_cast<double>(of_pack);
    variation_sum += static_cast<double>(variation_of_pack);
  }
  for (int offset = 16; offset > 0; offset /= 2) {
    sum += __shfl_xor_sync(0xffffffffu, sum, offset);
    variation_sum += __shfl_xor_sync(0xffffffffu, variation_sum, offset);
  }
  __shared__ double of_warp[kMostWarps], variation_of_warp[kMostWarps];
  if (threadIdx.x % 32 == 0) {
    of_warp[threadIdx.x / 32] = sum;
    variation_of_warp[threadIdx.x / 32] = variation_sum;
  }
  __syncthreads();
  if (threadIdx.x != 0) return;
  double kl = 0, variation = 0;
  for (int i = 0; i < blockDim.x / 32; ++i) {
    kl += of_warp[i];
    variation += variation_of_warp[i];
  }
  losses.kl[index] = static_cast<float>(kl);
  losses.variation[index] = static_cast<float>(variation);
  losses.nll[index] =
      static_cast<double>(plan_shift) - static_cast<double>(Load(plan[next_tokens[row]]));
  losses.same_top1[index] = summary.top == reference.top[row];
}

// Enough threads for each to have some packs of a row.
int ThreadsFor(int64_t packs) {
  const int64_t warps = std::clamp<int64_t>(packs / 128, 1, kMostWarps);
  return static_cast<int>(32 * warps);
}

// Calls launch(null T*, null P*), where P is what can be read at a time.
template <typename Launch>
void WithPacks(ElementType type, int64_t vocab, const Launch& launch) {
  WithElementType(type, [&](auto* element) {
    using T = std::remove_pointer_t<decltype(element)>;
    // libtorch aligns its memory to more than 16 bytes, so only the width of a row matters.
    if (vocab % Pack<T>::kSize == 0) {
      launch(element, static_cast<Pack<T>*>(nullptr));
    } else {
      launch(element, static_cast<Single<T>*>(nullptr));
    }
  });
}

}  // namespace

void SummarizeOnCuda(const CudaPlace& place, const void* logits, int64_t rows, int64_t vocab,
                     const CudaLogitSummaries& summaries) {
  if (rows == 0) return;
  const CurrentDevice current(place.device);
  WithPacks(place.type, vocab, [&](auto* element, auto* pack) {
    using T = std::remove_pointer_t<decltype(element)>;
    using P = std::remove_pointer_t<decltype(pack)>;
    const int threads = ThreadsFor(vocab / P::kSize);
    SummarizeKernel<T, P><<<static_cast<unsigned>(rows), threads, 0, StreamOf(place)>>>(
        static_cast<const T*>(logits), vocab, summaries);
  });
  RequireLaunched(kDoing);
}

void TokenLossesOnCuda(const CudaPlace& place, const void* reference_logits,
                       const CudaLogitSummaries& reference, const void* logits,
                       const int64_t* next_tokens, int64_t plans, int64_t rows, int64_t vocab,
                       const TokenLossArrays& losses) {
  if (plans * rows == 0) return;
  const CurrentDevice current(place.device);
  WithPacks(place.type, vocab, [&](auto* element, auto* pack) {
    using T = std::remove_pointer_t<decltype(element)>;
    using P = std::remove_pointer_t<decltype(pack)>;
    const int threads = ThreadsFor(vocab / P::kSize);
    TokenLossesKernel<T, P><<<static_cast<unsigned>(plans * rows), threads, 0, StreamOf(place)>>>(
        static_cast<const T*>(reference_logits), reference, static_cast<const T*>(logits),
        next_tokens, rows, vocab, losses);
  });
  RequireLaunched(kDoing);
}

}  // namespace kvtune
