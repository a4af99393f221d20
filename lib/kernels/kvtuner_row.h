// KVTuner's asymmetric integers in the type of the model, for the CPU and for CUDA.
//
// KVTuner's operators round to the model's type after every step (fake_quantize_cpu.h has the
// formula), so a cache in bfloat16 has other codes than one in float32.
#pragma once

#include <cmath>
#include <cstdint>

#include "lib/kernels/small_floats.h"

namespace kvtune {

// `round` rounds a float32 to the model's type. The bounds are those of the signed code.
template <typename RoundTo>
struct KvtunerRow {
  float q_min, q_max;
  float scale, zero;  // both in the model's type
  RoundTo round;

  KVTUNE_HOST_DEVICE KvtunerRow(float low, float high, int bits, RoundTo round_to = {})
      : q_min(-static_cast<float>(1 << (bits - 1))),
        q_max(static_cast<float>((1 << (bits - 1)) - 1)),
        round(round_to) {
    const float range = fmaxf(round(high - low), round(1e-5f));
    scale = round(range / (q_max - q_min));
    zero = round(rintf(round(low / scale)) - q_min);
  }
  KVTUNE_HOST_DEVICE float CodeOf(float x) const {
    return fminf(fmaxf(rintf(round(round(x / scale) - zero)), q_min), q_max);
  }
  // The code counted from 0, as packed_layout.h stores it.
  KVTUNE_HOST_DEVICE uint32_t LevelOf(float x) const {
    return static_cast<uint32_t>(static_cast<int32_t>(CodeOf(x) - q_min));
  }
  KVTUNE_HOST_DEVICE float ValueOf(float code) const { return round(round(code + zero) * scale); }
};

// The upper half of a float32's bits, half to even; not a number stays one.
KVTUNE_HOST_DEVICE inline uint16_t BFloat16Bits(float x) {
  const uint32_t bits = BitsOf(x);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return static_cast<uint16_t>((bits >> 16) | 0x40u);
  return static_cast<uint16_t>((bits + 0x7fffu + ((bits >> 16) & 1)) >> 16);
}
KVTUNE_HOST_DEVICE inline float FromBFloat16(uint16_t bits) {
  return FromBits(static_cast<uint32_t>(bits) << 16);
}

struct RoundToBFloat16 {
  KVTUNE_HOST_DEVICE float operator()(float x) const { return FromBFloat16(BFloat16Bits(x)); }
};

}  // namespace kvtune
