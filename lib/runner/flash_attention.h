// Attention that never stores its weights, by libtorch's flash kernels (FlashAttention-2, arXiv
// 2307.08691). It computes what AttentionWeights and AttentionOutput compute (attention.h), up to
// the rounding of the outputs.
#pragma once

#include "lib/core/model_config.h"
#include "lib/runner/attention.h"
#include "lib/runner/torch.h"

namespace kvtune {

// Whether the flash kernels can take this attention. They need half precision on CUDA and equal
// widths of keys and values, and know no soft cap. Two sides with residual windows must have the
// same window, and a residual window in a layer with a sliding window is left to the other path.
bool CanFlash(const at::Tensor& query, const CacheSide& keys, const CacheSide& values,
              const ScoreRule& rule);

// What attention returns, and what it has divided by.
struct AttentionResult {
  at::Tensor output;    // [batch, tokens, query_heads, head_dim]
  at::Tensor log_sums;  // [batch, tokens, query_heads], float32: log of the sum of exp(score)
};

// All queries of a prompt attend, causally. query: [batch, query_heads, tokens, head_dim], already
// scaled. A sink's logit is part of the sums. REQUIRES: CanFlash.
AttentionResult FlashAttentionWithSums(const at::Tensor& query, const CacheSide& keys,
                                       const CacheSide& values, const ScoreRule& rule);

// The same without the sums: [batch, tokens, query_heads, head_dim]
at::Tensor FlashAttention(const at::Tensor& query, const CacheSide& keys, const CacheSide& values,
                          const ScoreRule& rule);

// Whether prompts of so many tokens are of a round length, for which cuDNN's kernels are prepared.
bool HasCudnnLength(int64_t tokens);

// Whether cuDNN's kernels are worth their cost: on a Hopper GPU they take half the time of the
// flash kernels, but 1 s for the first call of a process and 0.07 s for each further shape. So only
// lengths from 1024 on qualify, and of these only multiples of 512: a length to which prompts are
// cut, not one of many. Beside the length the choice depends on the layer and its formats alone,
// because the kernels round differently. Therefore a prompt of such a length is padded to no other
// and no other to it (RunnerState).
// query, keys, values: as for FlashAttention
bool CanUseCudnn(const at::Tensor& query, const CacheSide& keys, const CacheSide& values,
                 const ScoreRule& rule);

// What FlashAttentionWithSums returns. REQUIRES: CanUseCudnn.
AttentionResult CudnnAttention(const at::Tensor& query, const CacheSide& keys,
                               const CacheSide& values);

// Makes a first call for a layer of this shape, where cuDNN's kernels take it, so that a later one
// is not the slow one. A failure is left to the later call.
void CallCudnnFirst(const at::TensorOptions& options, int64_t query_heads,
                    const LayerConfig& layer);

}  // namespace kvtune
