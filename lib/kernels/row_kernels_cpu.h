// What a decoder does to each row between its matrix products, fused for float32 on the CPU.
// Torch-free.
//
// As single operators the same steps would each walk their tensor through memory once more, which
// costs a small model nearly as much as its matrix products. Other devices and types use the
// operators (decoder.cc, attention.cc).
#pragma once

#include <cstdint>

#include "lib/core/model_config.h"

namespace kvtune {

// out = x / sqrt(mean(x^2) + eps) * weight. x, out: [rows, width]; weight: [width].
void RmsNormRows(const float* x, const float* weight, float* out, int64_t rows, int64_t width,
                 float eps);

// Activation of gate, times up. gate_up: [rows, 2 width] with gate first; out: [rows, width].
void GatedRows(const float* gate_up, float* out, int64_t rows, int64_t width,
               Activation activation);

// In place, cap tanh(x / cap).
void SoftCapElements(float* x, int64_t count, float cap);

// Heads beside each other in rows of a wider matrix [sequences * tokens, row_width].
struct HeadLayout {
  int64_t sequences = 0;
  int64_t tokens = 0;
  int64_t row_width = 0;
  int64_t first_channel = 0;  // of the first head, in its row
  int64_t heads = 0;
  int64_t head_dim = 0;
};

// In place, RMS norm of every head. weight: [head_dim].
void RmsNormHeads(float* source, const HeadLayout& layout, const float* weight, float eps);

// Copies the heads of `source` to out [sequences, heads, tokens, head_dim], times `scale`.
void GatherHeads(const float* source, const HeadLayout& layout, float scale, float* out);

// The same with rotary embedding of each head's first rotary_dim channels: channel i turns against
// channel i + rotary_dim / 2. cos, sin: [tokens, rotary_dim / 2].
void GatherRotatedHeads(const float* source, const HeadLayout& layout, int64_t rotary_dim,
                        const float* cos, const float* sin, float scale, float* out);

// Scores of a block of `rows` queries, [matrices * rows, columns]. Row r of a matrix sees the
// columns up to first_visible + r, and of those the last `window` (0: all).
struct ScoreLayout {
  int64_t matrices = 0;
  int64_t rows = 0;
  int64_t columns = 0;
  int64_t first_visible = 0;
  int64_t window = 0;
  int64_t heads = 1;             // matrix m belongs to query head m % heads
  const float* sinks = nullptr;  // [heads] or null: a logit more, whose weight is left out
};

// In place, softmax over what each row sees, 0 for the rest.
void CausalSoftmaxRows(float* scores, const ScoreLayout& layout);

}  // namespace kvtune
