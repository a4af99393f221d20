// What a format does to one token of one KV head: rotate it, quantize it row by row, and rotate it
// back. This file is compiled for the CPU and for CUDA.
//
// The engines keep keys and values rotated, and rotate the query or the attention output to match.
// The rotation R is orthogonal: q.k = (Rq).(Rk), and the sum of w_i R v_i is R times the sum of w_i
// v_i. So rotating back what the cache returns gives the attention of the engine, and the code of
// attention needs to know nothing about rotations.
#pragma once

#include "lib/core/kv_format.h"
#include "lib/kernels/row_quantizers.h"

namespace kvtune {

inline constexpr int64_t kLargestSignedBlock = 512;

// One side of a format for one head_dim, in the form that the kernels need.
struct HeadArithmetic {
  Numerics numerics = Numerics::kExact;
  int bits = 16;
  int64_t group = 0;  // elements in a row
  RotationKind rotation = RotationKind::kNone;
  int64_t rotation_block = 0;  // 0 means no rotation
  uint64_t negative[kLargestSignedBlock / 64] =
      {};  // for kSignedHadamard: a bit for each channel, set where the sign is flipped
  float levels[kMostLevels] = {};  // for kTurboquantKey: 2^bits rising levels
};

// Throws Error for a signed rotation of more than kLargestSignedBlock channels.
HeadArithmetic HeadArithmeticOf(const KvFormat& format, KvSide side, int64_t head_dim);

KVTUNE_HOST_DEVICE inline void WalshHadamard(Row x) {
  for (int64_t half = 1; half < x.size; half *= 2) {
    for (int64_t start = 0; start < x.size; start += 2 * half) {
      for (int64_t i = start; i < start + half; ++i) {
        const float a = x[i], b = x[i + half];
        x[i] = a + b;
        x[i + half] = a - b;
      }
    }
  }
}

KVTUNE_HOST_DEVICE inline void FlipSigns(Row x, const HeadArithmetic& arithmetic) {
  for (int64_t i = 0; i < x.size; ++i) {
    if ((arithmetic.negative[i / 64] >> (i % 64)) & 1) x[i] = -x[i];
  }
}

KVTUNE_HOST_DEVICE inline void Scale(Row x, float factor) {
  for (int64_t i = 0; i < x.size; ++i) x[i] *= factor;
}

// vLLM quantizes the transform without its factor 1 / sqrt(block) and divides by block at the end
// (int4_per_token_head.py, single_rht); the others apply the factor both ways.
KVTUNE_HOST_DEVICE inline void Rotate(Row block, const HeadArithmetic& arithmetic) {
  if (arithmetic.rotation == RotationKind::kSignedHadamard) FlipSigns(block, arithmetic);
  WalshHadamard(block);
  if (arithmetic.rotation == RotationKind::kHadamard)
    Scale(block, 1.0f / sqrtf(static_cast<float>(block.size)));
}

KVTUNE_HOST_DEVICE inline void RotateBack(Row block, const HeadArithmetic& arithmetic) {
  WalshHadamard(block);
  if (arithmetic.rotation == RotationKind::kHadamard) {
    Scale(block, 1.0f / sqrtf(static_cast<float>(block.size)));
  } else {
    FlipSigns(block, arithmetic);
    Scale(block, 1.0f / static_cast<float>(block.size));
  }
}

// Quantizes `head`, all channels of one token of one KV head, in place.
KVTUNE_HOST_DEVICE inline void RoundTripHead(Row head, const HeadArithmetic& arithmetic,
                                             float static_scale) {
  const int64_t block = arithmetic.rotation_block;
  const float scale =
      arithmetic.numerics == Numerics::kTurboquantKey ? Normalize(head) : static_scale;
  if (block > 0) {
    for (int64_t i = 0; i < head.size; i += block)
      Rotate({&head[i], block, head.stride}, arithmetic);
  }
  for (int64_t i = 0; i < head.size; i += arithmetic.group) {
    const int64_t rest = head.size - i;
    RoundTripRow({&head[i], arithmetic.group < rest ? arithmetic.group : rest, head.stride},
                 {arithmetic.numerics, arithmetic.bits, scale, arithmetic.levels});
  }
  if (block > 0) {
    for (int64_t i = 0; i < head.size; i += block)
      RotateBack({&head[i], block, head.stride}, arithmetic);
  }
}

}  // namespace kvtune
