// What a decoder does to each row between its matrix products, fused for float32 on the CPU. Torch-free.
//
// As single operators the same steps would each walk their tensor through memory once more, which costs
// a small model nearly as much as its matrix products. Other devices and types use the operators
// (decoder.cc, attention.cc).
#pragma once

#include <cstdint>

namespace kvtune {

// out = x / sqrt(mean(x^2) + eps) * weight. x, out: [rows, width]; weight: [width].
void RmsNormRows(const float* x, const float* weight, float* out, int64_t rows, int64_t width, float eps);

// out = silu(gate) * up. gate_up: [rows, 2 width] with gate first; out: [rows, width].
void GatedSiluRows(const float* gate_up, float* out, int64_t rows, int64_t width);

// Heads beside each other in rows of a wider matrix [sequences * tokens, row_width].
struct HeadLayout {
  int64_t sequences = 0;
  int64_t tokens = 0;
  int64_t row_width = 0;
  int64_t first_channel = 0;  // of the first head, in its row
  int64_t heads = 0;
  int64_t head_dim = 0;
};

// Copies the heads of `source` to out [sequences, heads, tokens, head_dim], times `scale`.
void GatherHeads(const float* source, const HeadLayout& layout, float scale, float* out);

// The same with rotary embedding of each head's first rotary_dim channels: channel i turns against
// channel i + rotary_dim / 2. cos, sin: [tokens, rotary_dim / 2].
void GatherRotatedHeads(const float* source, const HeadLayout& layout, int64_t rotary_dim, const float* cos,
                        const float* sin, float scale, float* out);

// In place, softmax of the first `first_visible + r % rows` scores of each row r, 0 for the others:
// causal attention of a block of `rows` queries. scores: [matrices * rows, columns].
void CausalSoftmaxRows(float* scores, int64_t matrices, int64_t rows, int64_t columns, int64_t first_visible);

}  // namespace kvtune
