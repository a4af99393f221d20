// The losses of one next-token distribution against another, on the CPU. This file is torch-free.
#pragma once

#include <cstdint>

namespace kvtune {

struct TokenLoss {
  double kl = 0;               // forward KL(reference || plan), nats, >= 0
  double total_variation = 0;  // half of sum |p - q|, in 0 to 1
  double nll = 0;              // -log of the plan's probability of `next_token`, nats
  bool same_top1 = false;
};

// What turns a row of logits into log-probabilities, which are x - shift().
struct LogitSummary {
  float max = 0;
  float log_sum = 0;  // log sum exp(x - max)
  int64_t top = 0;    // the index of the largest logit, the first of equal ones
  float shift() const { return max + log_sum; }
};
LogitSummary Summarize(const float* logits, int64_t vocab);

// The forward KL is summed as p (d + exp(-d) - 1) with d = log p - log q, which equals p d in total
// because both distributions sum to 1. Every term is >= 0 and of second order in d, so that a KL of
// 1e-9 is not drowned by the rounding of first-order terms that cancel. The total variation
// distance is summed as p (1 - exp(-d)) where p > q, from the same terms. reference_logits and
// logits are [vocab], and `reference` summarizes reference_logits.
TokenLoss ComputeTokenLoss(const float* reference_logits, const LogitSummary& reference,
                           const float* logits, int64_t vocab, int64_t next_token);

}  // namespace kvtune
