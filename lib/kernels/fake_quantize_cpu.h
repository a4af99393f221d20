// Fake quantization on the CPU: every float32 becomes the float32 that a cache would give back.
// This file is torch-free.
//
// There are two ways. RoundTripHeads and RoundTripColumns take the arithmetic of any format, one
// row at a time (row_quantizers.h). FakeQuantizeRows and FakeQuantizeColumns are vector code for
// KVTuner's asymmetric integers alone, and give the same bits.
//
// The asymmetric quantizer of KVTuner's "vanilla" cache (arXiv 2502.04420), on a row x of B bits:
// q_max = 2^(B-1)-1, q_min = -2^(B-1) scale = max(max(x)-min(x), 1e-5) / (q_max-q_min) zero  =
// round(min(x)/scale) - q_min q     = clip(round(x/scale - zero), q_min, q_max) x^    = (q + zero)
// * scale Every operation rounds to float32 and round() goes half to even, so that the result has
// the bits of the same formula written in NumPy.
#pragma once

#include <cstdint>

#include "lib/kernels/head_quantizer.h"

namespace kvtune {

// Quantizes x [heads * tokens, head_dim] in place. static_scales holds one scale for each head; it
// is null where each row has its own.
struct HeadsShape {
  int64_t heads = 0;  // KV heads of all sequences together
  int64_t tokens = 0;
  int64_t head_dim = 0;
};
void RoundTripHeads(float* x, const HeadsShape& shape, const HeadArithmetic& arithmetic,
                    const float* static_scales);

// Does the same along tokens: a row is arithmetic.group tokens of one channel. Tokens that do not
// fill a group stay as they are.
void RoundTripColumns(float* x, const HeadsShape& shape, const HeadArithmetic& arithmetic);

// A row is `group` neighbouring elements of one of `count` vectors of `width`. The last row of a
// vector is shorter when group does not divide width. in and out are [count, width] and may be the
// same memory. REQUIRES: 2 <= bits <= 8, 0 < group <= width.
void FakeQuantizeRows(const float* in, float* out, int64_t count, int64_t width, int64_t group,
                      int bits);

// A row is `group` neighbouring tokens of one channel. in and out are [count, tokens, channels] and
// may be the same memory. Tokens that do not fill a group are copied. REQUIRES: 2 <= bits <= 8,
// group > 0.
void FakeQuantizeColumns(const float* in, float* out, int64_t count, int64_t tokens,
                         int64_t channels, int64_t group, int bits);

}  // namespace kvtune
