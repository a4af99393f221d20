// What a decoder does to each row between its matrix products, fused for float32 on the CPU. This
// file is torch-free.
//
// As single operators, each of these steps would read and write its tensor once more, which costs a
// small model nearly as much as its matrix products. Other devices and types use the operators
// (decoder.cc, attention.cc).
#pragma once

#include <cstdint>

#include "lib/core/model_config.h"

namespace kvtune {

// out = x / sqrt(mean(x^2) + eps) * weight. x and out are [rows, width], weight is [width].
void RmsNormRows(const float* x, const float* weight, float* out, int64_t rows, int64_t width,
                 float eps);

// out = activation(gate) * up. gate_up is [rows, 2 width] with the gate first; out is [rows,
// width].
void GatedRows(const float* gate_up, float* out, int64_t rows, int64_t width,
               Activation activation);

// Replaces each x by cap tanh(x / cap), in place.
void SoftCapElements(float* x, int64_t count, float cap);

// Heads that lie beside each other in the rows of a wider matrix [sequences * tokens, row_width].
struct HeadLayout {
  int64_t sequences = 0;
  int64_t tokens = 0;
  int64_t row_width = 0;
  int64_t first_channel = 0;  // where the first head begins in its row
  int64_t heads = 0;
  int64_t head_dim = 0;
};

// Applies the RMS norm to every head, in place. weight is [head_dim].
void RmsNormHeads(float* source, const HeadLayout& layout, const float* weight, float eps);

// Copies the heads of `source`, multiplied by `scale`, to out [sequences, heads, tokens, head_dim].
void GatherHeads(const float* source, const HeadLayout& layout, float scale, float* out);

// Does the same with the rotary embedding of each head's first rotary_dim channels, where channel i
// turns together with channel i + rotary_dim / 2. cos and sin are [tokens, rotary_dim / 2].
void GatherRotatedHeads(const float* source, const HeadLayout& layout, int64_t rotary_dim,
                        const float* cos, const float* sin, float scale, float* out);

// The scores of a block of `rows` queries are [matrices * rows, columns]. Row r of a matrix sees
// the columns under first_visible + r, and of those only the last `window`, unless that is 0.
struct ScoreLayout {
  int64_t matrices = 0;
  int64_t rows = 0;
  int64_t columns = 0;
  int64_t first_visible = 0;
  int64_t window = 0;
  int64_t heads = 1;             // matrix m belongs to query head m % heads
  const float* sinks = nullptr;  // [heads] or null; one more logit, whose weight is dropped
};

// Applies the softmax over what each row sees, in place, and writes 0 to the rest.
void CausalSoftmaxRows(float* scores, const ScoreLayout& layout);

}  // namespace kvtune
