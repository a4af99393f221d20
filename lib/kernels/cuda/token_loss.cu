#include "lib/kernels/cuda/device.cuh"
#include "lib/kernels/cuda/token_loss.h"

namespace kvtune {
namespace {

constexpr int kThreads = 512;
constexpr int kWarps = kThreads / 32;
constexpr char kDoing[] = "comparing logits";

// The largest logit so far, where it is first, and the sum of exp(x - max).
struct Running {
  float max = -INFINITY;
  float sum = 0;
  int64_t top = INT64_MAX;
};

// A sum over no logits has max = -inf and sum = 0; exp(-inf - finite) = 0 leaves the other one as
// it is.
__device__ Running Joined(const Running& a, const Running& b) {
  Running joined;
  joined.max = fmaxf(a.max, b.max);
  if (joined.max == -INFINITY) return joined;
  joined.sum = a.sum * expf(a.max - joined.max) + b.sum * expf(b.max - joined.max);
  if (a.max == joined.max) joined.top = a.top;
  if (b.max == joined.max && b.top < joined.top) joined.top = b.top;
  return joined;
}

__device__ Running OfLane(const Running& x, int offset) {
  return {__shfl_xor_sync(0xffffffffu, x.max, offset), __shfl_xor_sync(0xffffffffu, x.sum, offset),
          __shfl_xor_sync(0xffffffffu, x.top, offset)};
}

// Every thread of the block gets the summary of the row.
template <typename T, typename P>
__device__ Running SummaryOf(const T* logits, int64_t vocab) {
  Running own;
  for (int64_t i = threadIdx.x; i < vocab / P::kSize; i += kThreads) {
    const P pack = reinterpret_cast<const P*>(logits)[i];
    Running of_pack;
    for (int k = 0; k < P::kSize; ++k) {
      const float x = Load(pack.elements[k]);
      if (x > of_pack.max) {
        of_pack.max = x;
        of_pack.top = i * P::kSize + k;
      }
    }
    for (int k = 0; k < P::kSize; ++k) of_pack.sum += expf(Load(pack.elements[k]) - of_pack.max);
    own = Joined(own, of_pack);
  }
  for (int offset = 16; offset > 0; offset /= 2) own = Joined(own, OfLane(own, offset));
  __shared__ Running of_warp[kWarps];
  __syncthreads();
  if (threadIdx.x % 32 == 0) of_warp[threadIdx.x / 32] = own;
  __syncthreads();
  Running row = of_warp[0];
  for (int i = 1; i < kWarps; ++i) row = Joined(row, of_warp[i]);
  return row;
}

__device__ float ShiftOf(const Running& row) {
  return row.max + static_cast<float>(log(static_cast<double>(row.sum)));
}

template <typename T, typename P>
__global__ void SummarizeKernel(const T* logits, int64_t vocab, CudaLogitSummaries summaries) {
  const Running row = SummaryOf<T, P>(logits + static_cast<int64_t>(blockIdx.x) * vocab, vocab);
  if (threadIdx.x != 0) return;
  summaries.shift[blockIdx.x] = ShiftOf(row);
  summaries.top[blockIdx.x] = row.top;
}

// d + exp(-d) - 1 without cancellation, as in token_loss_cpu.cc.
__device__ float SecondOrderTerm(float d) {
  const float near = d * d * (0.5f - d * (1.0f / 6.0f - d * (1.0f / 24.0f)));
  // Where p is far below q, p is about 0, and exp(-d) must not become infinite as its factor.
  const float capped = fmaxf(d, -87.0f);
  return fabsf(capped) < 0.03f ? near : capped + expm1f(-capped);
}

// One block takes one row of one plan.
template <typename T, typename P>
__global__ void TokenLossesKernel(const T* reference_logits, CudaLogitSummaries reference,
                                  const T* logits, const int64_t* next_tokens, int64_t rows,
                                  int64_t vocab, TokenLossArrays losses) {
  const int64_t index = blockIdx.x, row = index % rows;
  const T* plan = logits + index * vocab;
  const P* exact = reinterpret_cast<const P*>(reference_logits + row * vocab);
  const Running summary = SummaryOf<T, P>(plan, vocab);
  const float plan_shift = ShiftOf(summary), exact_shift = reference.shift[row];
  double sum = 0, variation_sum = 0;
  for (int64_t i = threadIdx.x; i < vocab / P::kSize; i += kThreads) {
    const P p = exact[i], q = reinterpret_cast<const P*>(plan)[i];
    float of_pack = 0, variation_of_pack = 0;
    for (int k = 0; k < P::kSize; ++k) {
      const float log_p = Load(p.elements[k]) - exact_shift;
      const float d = log_p - (Load(q.elements[k]) - plan_shift);
      const float probability = expf(log_p), term = SecondOrderTerm(d);
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
  __shared__ double of_warp[kWarps], variation_of_warp[kWarps];
  if (threadIdx.x % 32 == 0) {
    of_warp[threadIdx.x / 32] = sum;
    variation_of_warp[threadIdx.x / 32] = variation_sum;
  }
  __syncthreads();
  if (threadIdx.x != 0) return;
  double kl = 0, variation = 0;
  for (const double part : of_warp) kl += part;
  for (const double part : variation_of_warp) variation += part;
  losses.kl[index] = static_cast<float>(kl);
  losses.variation[index] = static_cast<float>(variation);
  losses.nll[index] =
      static_cast<double>(plan_shift) - static_cast<double>(Load(plan[next_tokens[row]]));
  losses.same_top1[index] = summary.top == reference.top[row];
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
    SummarizeKernel<T, P><<<static_cast<unsigned>(rows), kThreads, 0, StreamOf(place)>>>(
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
    TokenLossesKernel<T, P><<<static_cast<unsigned>(plans * rows), kThreads, 0, StreamOf(place)>>>(
        static_cast<const T*>(reference_logits), reference, static_cast<const T*>(logits),
        next_tokens, rows, vocab, losses);
  });
  RequireLaunched(kDoing);
}

}  // namespace kvtune
