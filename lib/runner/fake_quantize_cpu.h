// Fake quantization on the CPU: float32 in, the nearest storable float32 out. Torch-free.
//
// The asymmetric quantizer of KVTuner's "vanilla" cache (arXiv 2502.04420), on a row x of B bits:
//   q_max = 2^(B-1)-1, q_min = -2^(B-1)
//   scale = max(max(x)-min(x), 1e-5) / (q_max-q_min)
//   zero  = round(min(x)/scale) - q_min
//   q     = clip(round(x/scale - zero), q_min, q_max)
//   x^    = (q + zero) * scale
// Every operation rounds to float32 and round() is half to even, so that the result has the bits of
// the same formula written in NumPy.
#pragma once

#include <cstdint>

namespace kvtune {

// Rows of `group` neighbouring elements of each of `count` vectors of `width`; the last row of a
// vector is shorter when group does not divide width. in and out: [count, width]; may be the same.
// REQUIRES: 2 <= bits <= 8, 0 < group <= width.
void FakeQuantizeRows(const float* in, float* out, int64_t count, int64_t width, int64_t group, int bits);

// Rows of `group` neighbouring tokens of one channel. in and out: [count, tokens, channels]; may be
// the same. Tokens that do not fill a group are copied. REQUIRES: 2 <= bits <= 8, group > 0.
void FakeQuantizeColumns(const float* in, float* out, int64_t count, int64_t tokens, int64_t channels,
                         int64_t group, int bits);

}  // namespace kvtune
