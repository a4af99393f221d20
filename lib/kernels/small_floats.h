// Floats narrower than float32, as caches store them, by exact arithmetic on float32: every device
// gives the same bits.
//
// A format with m mantissa bits and smallest normal exponent e rounds x to a multiple of
// 2^(max(exponent(x), e) - m), half to even. This is the conversion that hardware does (IEEE 754;
// OCP 8-bit and microscaling formats for FP8 and FP4).
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#if defined(__CUDACC__)
#define KVTUNE_HOST_DEVICE __host__ __device__
#else
#define KVTUNE_HOST_DEVICE
#endif

namespace kvtune {

KVTUNE_HOST_DEVICE inline uint32_t BitsOf(float x) {
  uint32_t bits;
  memcpy(&bits, &x, sizeof(bits));
  return bits;
}

KVTUNE_HOST_DEVICE inline float FromBits(uint32_t bits) {
  float x;
  memcpy(&x, &bits, sizeof(x));
  return x;
}

// floor(log2 |x|) of a normal number; -127 for smaller ones.
KVTUNE_HOST_DEVICE inline int Exponent(float x) {
  return static_cast<int>((BitsOf(x) >> 23) & 0xff) - 127;
}

// 2^exponent. REQUIRES: -126 <= exponent <= 127.
KVTUNE_HOST_DEVICE inline float PowerOfTwo(int exponent) {
  return FromBits(static_cast<uint32_t>(exponent + 127) << 23);
}

KVTUNE_HOST_DEVICE inline float Clamp(float x, float low, float high) {
  return x < low ? low : (x > high ? high : x);
}

KVTUNE_HOST_DEVICE inline float RoundHalfToEven(float x) { return rintf(x); }

// Scaling by a power of two is exact, so that only the rounding in the middle loses anything.
KVTUNE_HOST_DEVICE inline float RoundMantissa(float x, int mantissa_bits, int smallest_exponent) {
  const int exponent = Exponent(x);
  const int step = (exponent > smallest_exponent ? exponent : smallest_exponent) - mantissa_bits;
  return RoundHalfToEven(x * PowerOfTwo(-step)) * PowerOfTwo(step);
}

// The bits of a float with m mantissa bits and smallest normal exponent e, without its sign: a
// field of the exponent, 0 for subnormals, and m bits of mantissa.
//
// Adding 2^(max(exponent(x), e) - m + 23) leaves a mantissa whose last bit is worth the step that x
// is rounded to, so that the addition itself rounds half to even, and its bits count the steps. A
// mantissa that is rounded up to the next power of two carries into the exponent's field.
// REQUIRES: 0 <= magnitude <= the format's largest number.
KVTUNE_HOST_DEVICE inline uint32_t SmallFloatCode(float magnitude, int mantissa_bits,
                                                  int smallest_exponent) {
  const uint32_t own = BitsOf(magnitude) & 0x7f800000u;
  const uint32_t smallest = static_cast<uint32_t>(smallest_exponent + 127) << 23;
  const uint32_t exponent = own > smallest ? own : smallest;
  const uint32_t shift = static_cast<uint32_t>(23 - mantissa_bits);
  const uint32_t steps_of_one = exponent + (shift << 23);
  const uint32_t steps = BitsOf(magnitude + FromBits(steps_of_one)) - steps_of_one;
  return steps + ((exponent - smallest) >> shift);
}

// A subnormal is read as a normal number of the smallest exponent, whose 1 is then taken off.
KVTUNE_HOST_DEVICE inline float SmallFloatValue(uint32_t code, int mantissa_bits,
                                                int smallest_exponent) {
  const bool is_normal = code >= (1u << mantissa_bits);
  const uint32_t smallest = static_cast<uint32_t>(smallest_exponent + 127) << 23;
  const uint32_t bits = (code << (23 - mantissa_bits)) + smallest;
  return is_normal ? FromBits(bits - (1u << 23)) : FromBits(bits) - FromBits(smallest);
}

// |x|, at most `highest`; not a number counts as `highest`.
KVTUNE_HOST_DEVICE inline float SaturatedMagnitude(float x, float highest) {
  const float magnitude = fabsf(x);
  return magnitude < highest ? magnitude : highest;
}

KVTUNE_HOST_DEVICE inline float WithSignBit(float magnitude, uint32_t sign_bit) {
  return FromBits(BitsOf(magnitude) | sign_bit);
}

// The bit pattern of the nearest storable number, half to even. FP8 and FP4 saturate, as KV-cache
// kernels do. FP8 has patterns for "not a number"; FP4 has none, and stores its largest number.
KVTUNE_HOST_DEVICE inline uint32_t E4m3Code(float x) {
  const uint32_t magnitude = SmallFloatCode(SaturatedMagnitude(x, 448), 3, -6);
  return ((BitsOf(x) >> 24) & 0x80) | (x == x ? magnitude : 0x7fu);
}
KVTUNE_HOST_DEVICE inline float E4m3Value(uint32_t code) {
  const uint32_t magnitude = code & 0x7f;
  const float value = SmallFloatValue(magnitude, 3, -6);
  return WithSignBit(magnitude == 0x7f ? FromBits(0x7fc00000u) : value, (code & 0x80) << 24);
}

KVTUNE_HOST_DEVICE inline uint32_t E5m2Code(float x) {
  const uint32_t magnitude = SmallFloatCode(SaturatedMagnitude(x, 57344), 2, -14);
  return ((BitsOf(x) >> 24) & 0x80) | (x == x ? magnitude : 0x7fu);
}
KVTUNE_HOST_DEVICE inline float E5m2Value(uint32_t code) {
  const uint32_t magnitude = code & 0x7f;
  const float value = SmallFloatValue(magnitude, 2, -14);
  const float beyond = FromBits(magnitude == 0x7c ? 0x7f800000u : 0x7fc00000u);
  return WithSignBit(magnitude >= 0x7c ? beyond : value, (code & 0x80) << 24);
}

KVTUNE_HOST_DEVICE inline uint32_t E2m1Code(float x) {
  return ((BitsOf(x) >> 28) & 8) | SmallFloatCode(SaturatedMagnitude(x, 6), 1, 0);
}
KVTUNE_HOST_DEVICE inline float E2m1Value(uint32_t code) {
  return WithSignBit(SmallFloatValue(code & 7, 1, 0), (code & 8) << 28);
}

KVTUNE_HOST_DEVICE inline float RoundToE4m3(float x) { return E4m3Value(E4m3Code(x)); }

// Half precision overflows to infinity from 65520 on, the middle between 65504 and the next step.
KVTUNE_HOST_DEVICE inline float RoundToHalf(float x) {
  if (x >= 65520.0f) return FromBits(0x7f800000u);
  if (x <= -65520.0f) return FromBits(0xff800000u);
  return RoundMantissa(x, 10, -14);
}

}  // namespace kvtune
