#include "lib/runner/token_loss_cpu.h"

#include <bit>
#include <cmath>

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#define KVTUNE_VECTOR_CLONES __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define KVTUNE_VECTOR_CLONES
#endif

namespace kvtune {
namespace {

// exp(x) for x <= 0, branch-free so that loops over it vectorize; relative error under 2e-7.
// Cephes' expf: x = n ln 2 + r, a polynomial in r, then n into the exponent bits.
inline float ExpNonPositive(float x) {
  x = x < -87.0f ? -87.0f : x;  // exp(-87) is the smallest normal float, as good as 0 here
  const float n = __builtin_rintf(x * 1.44269504088896341f);
  const float r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
  float p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * r * r + r + 1.0f;
  const auto exponent = static_cast<int32_t>(n) + 127;
  return p * std::bit_cast<float>(exponent << 23);
}

// d + exp(-d) - 1 without cancellation: a series near 0, where it is d^2 / 2.
inline float SecondOrderTerm(float d) {
  const float near = d * d * (0.5f - d * (1.0f / 6.0f - d * (1.0f / 24.0f)));
  const float capped = d < -87.0f ? -87.0f : d;
  const float magnitude = capped < 0 ? -capped : capped;
  const float small = ExpNonPositive(-magnitude);
  const float far = capped + (capped > 0 ? small : 1.0f / small) - 1.0f;
  return magnitude < 0.03f ? near : far;
}

struct Row {
  float max = 0;
  float log_sum = 0;  // log sum exp(x - max)
  int64_t top = 0;
};

KVTUNE_VECTOR_CLONES
float MaxOf(const float* x, int64_t size) {
  float max = x[0];
#pragma omp simd reduction(max : max)
  for (int64_t i = 0; i < size; ++i) max = x[i] > max ? x[i] : max;
  return max;
}

// Partial sums keep the rounding of a long vocabulary at that of a short one.
constexpr int64_t kChunk = 4096;

KVTUNE_VECTOR_CLONES
float SumOfExp(const float* x, int64_t size, float max) {
  float sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t i = 0; i < size; ++i) sum += ExpNonPositive(x[i] - max);
  return sum;
}

KVTUNE_VECTOR_CLONES
float SumOfTerms(const float* reference, const float* plan, int64_t size, float reference_shift, float plan_shift) {
  float sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t i = 0; i < size; ++i) {
    const float log_p = reference[i] - reference_shift;
    const float d = log_p - (plan[i] - plan_shift);
    sum += ExpNonPositive(log_p) * SecondOrderTerm(d);
  }
  return sum;
}

Row Summarize(const float* logits, int64_t vocab) {
  Row row;
  row.max = MaxOf(logits, vocab);
  while (logits[row.top] != row.max && row.top + 1 < vocab) ++row.top;  // the first of equals
  double sum = 0;
  for (int64_t i = 0; i < vocab; i += kChunk) {
    sum += static_cast<double>(SumOfExp(logits + i, vocab - i < kChunk ? vocab - i : kChunk, row.max));
  }
  row.log_sum = static_cast<float>(std::log(sum));
  return row;
}

}  // namespace

TokenLoss ComputeTokenLoss(const float* reference_logits, const float* logits, int64_t vocab, int64_t next_token) {
  const Row reference = Summarize(reference_logits, vocab);
  const Row plan = Summarize(logits, vocab);
  TokenLoss loss;
  for (int64_t i = 0; i < vocab; i += kChunk) {
    loss.kl += static_cast<double>(SumOfTerms(reference_logits + i, logits + i, vocab - i < kChunk ? vocab - i : kChunk,
                                              reference.max + reference.log_sum, plan.max + plan.log_sum));
  }
  loss.nll = static_cast<double>(plan.max) + static_cast<double>(plan.log_sum) -
             static_cast<double>(logits[next_token]);
  loss.same_top1 = reference.top == plan.top;
  return loss;
}

}  // namespace kvtune
