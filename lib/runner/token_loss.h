// Losses of many plans' logits against the exact model's, on any device.
#pragma once

#include "lib/runner/torch.h"

namespace kvtune {

// All on the CPU, [plans, rows].
struct TokenLosses {
  at::Tensor kl;         // float32, nats, >= 0
  at::Tensor nll;        // float64, nats
  at::Tensor same_top1;  // bool
};

// reference: [rows, vocab]; logits: [plans, rows, vocab]; next_tokens: [rows] of int64, same device.
TokenLosses ComputeTokenLosses(const at::Tensor& reference, const at::Tensor& logits, const at::Tensor& next_tokens);

}  // namespace kvtune
