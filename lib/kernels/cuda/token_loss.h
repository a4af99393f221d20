// The losses of token_loss_cpu.h on CUDA, from blocks of logits that are read as they are. This
// file is torch-free.
#pragma once

#include <cstdint>

#include "lib/kernels/cuda/cuda_place.h"

namespace kvtune {

// What turns rows of logits into log-probabilities, in memory of the device.
struct CudaLogitSummaries {
  float* shift = nullptr;  // [rows]: max + log sum exp(x - max)
  int64_t* top = nullptr;  // [rows]: the index of the largest logit, the first of equal ones
};

// logits: [rows, vocab]
void SummarizeOnCuda(const CudaPlace& place, const void* logits, int64_t rows, int64_t vocab,
                     const CudaLogitSummaries& summaries);

// The losses of each plan in each row, in memory of the device: [plans, rows].
struct TokenLossArrays {
  float* kl = nullptr;    // nats, >= 0
  double* nll = nullptr;  // nats
  bool* same_top1 = nullptr;
  float* variation = nullptr;  // total variation distance, in 0 to 1
};

// reference_logits: [rows, vocab] with their summaries; logits: [plans, rows, vocab]; next_tokens:
// [rows]. All logits have the type of `place`. The logits of a plan are read twice and those of the
// reference once, because the sum of the exponentials has to be known first. Throws Error when the
// launch fails.
void TokenLossesOnCuda(const CudaPlace& place, const void* reference_logits,
                       const CudaLogitSummaries& reference, const void* logits,
                       const int64_t* next_tokens, int64_t plans, int64_t rows, int64_t vocab,
                       const TokenLossArrays& losses);

}  // namespace kvtune
