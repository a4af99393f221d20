// Losses of many plans' logits against the exact model's, on any device.
#pragma once

#include <vector>

#include "lib/kernels/token_loss_cpu.h"
#include "lib/runner/torch.h"

namespace kvtune {

// All on the CPU, [plans, rows].
struct TokenLosses {
  at::Tensor kl;         // float32, nats, >= 0
  at::Tensor nll;        // float64, nats
  at::Tensor same_top1;  // bool
};

// The exact model's logits of some rows, with what all plans that are compared with them need.
class ReferenceLogits {
 public:
  explicit ReferenceLogits(const at::Tensor& logits);  // [rows, vocab]

 private:
  friend TokenLosses ComputeTokenLosses(const ReferenceLogits&, const at::Tensor&,
                                        const at::Tensor&);

  at::Tensor logits_;                    // float32; on a CPU
  std::vector<LogitSummary> summaries_;  // on a CPU, one a row
  at::Tensor log_p_, top_;               // elsewhere
};

// logits: [plans, rows, vocab]; next_tokens: [rows] of int64, same device.
TokenLosses ComputeTokenLosses(const ReferenceLogits& reference, const at::Tensor& logits,
                               const at::Tensor& next_tokens);

}  // namespace kvtune
