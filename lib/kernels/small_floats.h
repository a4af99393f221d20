// Storage floats narrower than float32, by exact arithmetic on float32: the same bits on every
// device.
//
// A format with m mantissa bits and smallest normal exponent e rounds x to a multiple of
// 2^(max(exponent(x), e) - m), half to even. Scaling by a power of two is exact, so this is the
// conversion that hardware does (IEEE 754; OCP 8-bit and microscaling formats for FP8 and FP4).
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

KVTUNE_HOST_DEVICE inline float RoundMantissa(float x, int mantissa_bits, int smallest_exponent) {
  const int exponent = Exponent(x);
  const int step = (exponent > smallest_exponent ? exponent : smallest_exponent) - mantissa_bits;
  return RoundHalfToEven(x * PowerOfTwo(-step)) * PowerOfTwo(step);
}

// FP8 and FP4 saturate, as KV-cache kernels do.
KVTUNE_HOST_DEVICE inline float RoundToE4m3(float x) {
  return RoundMantissa(Clamp(x, -448, 448), 3, -6);
}
KVTUNE_HOST_DEVICE inline float RoundToE5m2(float x) {
  return RoundMantissa(Clamp(x, -57344, 57344), 2, -14);
}
KVTUNE_HOST_DEVICE inline float RoundToE2m1(float x) {
  return RoundMantissa(Clamp(x, -6, 6), 1, 0);
}

// Half precision overflows to infinity from 65520 on, the middle between 65504 and the next step.
KVTUNE_HOST_DEVICE inline float RoundToHalf(float x) {
  if (x >= 65520.0f) return FromBits(0x7f800000u);
  if (x <= -65520.0f) return FromBits(0xff800000u);
  return RoundMantissa(x, 10, -14);
}

}  // namespace kvtune
