// Computes the losses of many plans' logits against the exact model's, on any device.
#pragma once

#include <vector>

#include "lib/kernels/token_loss_cpu.h"
#include "lib/runner/cuda_kernels.h"
#include "lib/runner/torch.h"

namespace kvtune {

// The losses of each plan in each row. All tensors are on the CPU, [plans, rows].
struct TokenLosses {
  at::Tensor kl;         // float32, nats, >= 0
  at::Tensor nll;        // float64, nats
  at::Tensor same_top1;  // bool
  at::Tensor variation;  // float32, total variation distance, in 0 to 1
};

// The exact model's logits of some rows, with everything that is computed from them once and then
// compared with every plan.
class ReferenceLogits {
 public:
  explicit ReferenceLogits(const at::Tensor& logits);  // [rows, vocab]

 private:
  friend TokenLosses ComputeTokenLosses(const ReferenceLogits&, const at::Tensor&,
                                        const at::Tensor&);

  at::Tensor logits_;                    // float32 on a CPU, as computed for our CUDA kernels
  std::vector<LogitSummary> summaries_;  // set on a CPU, one for each row
  at::Tensor log_p_, top_;               // set on other devices and types
  CudaSummary cuda_summary_;             // set where our CUDA kernels run
};

// logits: [plans, rows, vocab]; next_tokens: [rows] of int64, on the same device.
TokenLosses ComputeTokenLosses(const ReferenceLogits& reference, const at::Tensor& logits,
                               const at::Tensor& next_tokens);

}  // namespace kvtune
