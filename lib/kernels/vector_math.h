// Single-precision functions without branches, which compilers turn into vector code, and the
// attribute that makes one binary use the widest vectors of every x86-64. This file is torch-free.
#pragma once

#include <bit>
#include <cstdint>

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#define KVTUNE_VECTOR_CLONES __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define KVTUNE_VECTOR_CLONES
#endif

namespace kvtune {

// Under this many elements starting threads costs more than it saves.
inline constexpr int64_t kParallelElements = 1 << 15;

// exp(x) for x <= 0, with a relative error under 2e-7. This is Cephes' expf: x = n ln 2 + r, where
// r goes into a polynomial and n into the bits of the exponent. Results under the smallest normal
// float are not exact, because they count as 0 in every sum.
inline float ExpNonPositive(float x) {
  x = x < -87.0f ? -87.0f : x;
  const float n = __builtin_rintf(x * 1.44269504088896341f);
  const float r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
  float p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * r * r + r + 1.0f;
  const auto exponent = static_cast<int32_t>(n) + 127;
  return p * std::bit_cast<float>(exponent << 23);
}

// tanh(x), with a relative error under 3e-7. This is Cephes' tanhf, with a polynomial near 0, where
// the quotient of exponentials would cancel.
inline float Tanh(float x) {
  const float magnitude = x < 0 ? -x : x;
  const float e = ExpNonPositive(-2.0f * magnitude);
  const float far = (1.0f - e) / (1.0f + e);
  const float z = x * x;
  float p = -5.70498872745e-3f;
  p = p * z + 2.06390887954e-2f;
  p = p * z - 5.37397155531e-2f;
  p = p * z + 1.33314422036e-1f;
  p = p * z - 3.33332819422e-1f;
  const float near = p * z * x + x;
  return magnitude < 0.625f ? near : x < 0 ? -far : far;
}

}  // namespace kvtune
