#include "lib/kernels/token_loss_cpu.h"

#include <cmath>

#include "lib/kernels/vector_math.h"

namespace kvtune {
namespace {

// d + exp(-d) - 1 without cancellation. Near 0, where this is about d^2 / 2, it is computed as a
// series.
inline float SecondOrderTerm(float d) {
  const float near = d * d * (0.5f - d * (1.0f / 6.0f - d * (1.0f / 24.0f)));
  const float capped = d < -87.0f ? -87.0f : d;
  const float magnitude = capped < 0 ? -capped : capped;
  const float small = ExpNonPositive(-magnitude);
  const float far = capped + (capped > 0 ? small : 1.0f / small) - 1.0f;
  return magnitude < 0.03f ? near : far;
}

KVTUNE_VECTOR_CLONES
float MaxOf(const float* x, int64_t size) {
  float max = x[0];
#pragma omp simd reduction(max : max)
  for (int64_t i = 0; i < size; ++i) max = x[i] > max ? x[i] : max;
  return max;
}

// Partial sums keep the rounding error of a long vocabulary as small as that of a short one.
constexpr int64_t kChunk = 4096;

KVTUNE_VECTOR_CLONES
float SumOfExp(const float* x, int64_t size, float max) {
  float sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t i = 0; i < size; ++i) sum += ExpNonPositive(x[i] - max);
  return sum;
}

struct Sums {
  float kl = 0;
  float variation = 0;
};

KVTUNE_VECTOR_CLONES
Sums SumOfTerms(const float* reference, const float* plan, int64_t size, float reference_shift,
                float plan_shift) {
  float kl = 0, variation = 0;
#pragma omp simd reduction(+ : kl, variation)
  for (int64_t i = 0; i < size; ++i) {
    const float log_p = reference[i] - reference_shift;
    const float d = log_p - (plan[i] - plan_shift);
    const float p = ExpNonPositive(log_p);
    const float term = SecondOrderTerm(d);
    const float lost = d - term;  // 1 - q / p
    kl += p * term;
    variation += p * (lost > 0 ? lost : 0);
  }
  return {kl, variation};
}

}  // namespace

LogitSummary Summarize(const float* logits, int64_t vocab) {
  LogitSummary row;
  row.max = MaxOf(logits, vocab);
  while (logits[row.top] != row.max && row.top + 1 < vocab) ++row.top;  // the first of equal ones
  double sum = 0;
  for (int64_t i = 0; i < vocab; i += kChunk) {
    sum +=
        static_cast<double>(SumOfExp(logits + i, vocab - i < kChunk ? vocab - i : kChunk, row.max));
  }
  row.log_sum = static_cast<float>(std::log(sum));
  return row;
}

TokenLoss ComputeTokenLoss(const float* reference_logits, const LogitSummary& reference,
                           const float* logits, int64_t vocab, int64_t next_token) {
  const LogitSummary plan = Summarize(logits, vocab);
  TokenLoss loss;
  for (int64_t i = 0; i < vocab; i += kChunk) {
    const Sums sums =
        SumOfTerms(reference_logits + i, logits + i, vocab - i < kChunk ? vocab - i : kChunk,
                   reference.shift(), plan.shift());
    loss.kl += static_cast<double>(sums.kl);
    loss.total_variation += static_cast<double>(sums.variation);
  }
  loss.nll = static_cast<double>(plan.max) + static_cast<double>(plan.log_sum) -
             static_cast<double>(logits[next_token]);
  loss.same_top1 = reference.top == plan.top;
  return loss;
}

}  // namespace kvtune
