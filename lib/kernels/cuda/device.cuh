// What the kernels of this folder share: loading and rounding of elements, the current device,
// launches.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <cstdint>
#include <string>

#include "lib/base/error.h"
#include "lib/kernels/cuda/cuda_place.h"

namespace kvtune {

__device__ inline float Load(float x) { return x; }
__device__ inline float Load(__half x) { return __half2float(x); }
__device__ inline float Load(__nv_bfloat16 x) { return __bfloat162float(x); }
__device__ inline void Store(float x, float* out) { *out = x; }
__device__ inline void Store(float x, __half* out) { *out = __float2half_rn(x); }
__device__ inline void Store(float x, __nv_bfloat16* out) { *out = __float2bfloat16_rn(x); }

// Rounds to the type T. libtorch's operators round after every step, and so do kernels that replace
// several of them.
template <typename T>
__device__ inline float Rounded(float x) {
  T rounded;
  Store(x, &rounded);
  return Load(rounded);
}

// The bits of a __half2 or a __nv_bfloat162.
template <typename Pair>
__device__ inline uint32_t AsBits(Pair pair) {
  static_assert(sizeof(Pair) == sizeof(uint32_t));
  return *reinterpret_cast<const uint32_t*>(&pair);
}

// As many elements as one load of 16 bytes holds.
template <typename T>
struct alignas(16) Pack {
  static constexpr int kSize = 16 / sizeof(T);
  T elements[kSize];
};
// What is read at a time where rows are not aligned to 16 bytes.
template <typename T>
struct Single {
  static constexpr int kSize = 1;
  T elements[1];
};

inline constexpr float kLog2E = 1.44269504088896341f;

// 2^x by the card's own unit (ex2.approx of PTX), 0 for -inf.
__device__ inline float Exp2(float x) {
  float power;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(power) : "f"(x));
  return power;
}

template <typename Combine>
__device__ inline float WarpReduce(float x, Combine combine) {
  for (int offset = 16; offset > 0; offset /= 2)
    x = combine(x, __shfl_xor_sync(0xffffffffu, x, offset));
  return x;
}

struct Larger {
  __device__ float operator()(float a, float b) const { return fmaxf(a, b); }
};
struct Smaller {
  __device__ float operator()(float a, float b) const { return fminf(a, b); }
};
struct Plus {
  __device__ float operator()(float a, float b) const { return a + b; }
};

// Makes a device current for as long as it lives.
class CurrentDevice {
 public:
  explicit CurrentDevice(int device) {
    cudaGetDevice(&before_);
    cudaSetDevice(device);
  }
  ~CurrentDevice() { cudaSetDevice(before_); }
  CurrentDevice(const CurrentDevice&) = delete;
  CurrentDevice& operator=(const CurrentDevice&) = delete;

 private:
  int before_ = 0;
};

inline cudaStream_t StreamOf(const CudaPlace& place) {
  return static_cast<cudaStream_t>(place.stream);
}

inline unsigned BlocksFor(int64_t rows, int64_t rows_of_a_block) {
  return static_cast<unsigned>((rows + rows_of_a_block - 1) / rows_of_a_block);
}

inline void RequireLaunched(const char* doing) {
  if (const cudaError_t error = cudaGetLastError(); error != cudaSuccess) {
    throw Error(std::string(doing) + " on CUDA: found \"" + cudaGetErrorString(error) +
                "\", expected the kernel to start");
  }
}

// Calls `function` with a null pointer to elements of this type.
template <typename Function>
void WithElementType(ElementType type, const Function& function) {
  switch (type) {
    case ElementType::kFloat32:
      return function(static_cast<float*>(nullptr));
    case ElementType::kBFloat16:
      return function(static_cast<__nv_bfloat16*>(nullptr));
    case ElementType::kFloat16:
      return function(static_cast<__half*>(nullptr));
  }
}

// The same where a kernel takes half precision alone. REQUIRES: the type is not kFloat32.
template <typename Function>
void WithHalfType(ElementType type, const Function& function) {
  if (type == ElementType::kBFloat16) {
    function(static_cast<__nv_bfloat16*>(nullptr));
  } else {
    function(static_cast<__half*>(nullptr));
  }
}

}  // namespace kvtune
