#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <algorithm>
#include <string>

#include "lib/base/error.h"
#include "lib/kernels/cuda/fake_quantize.h"

namespace kvtune {
namespace {

constexpr int kLargestHeadCount = 256;
constexpr int kThreads = 64;
constexpr size_t kSharedBytes = 48 * 1024;  // every device has as much without being asked for more

// The scales are passed by value, as the arguments of a kernel are.
struct StaticScales {
  float of_head[kLargestHeadCount];
  int count;
};

__device__ float Load(float x) { return x; }
__device__ float Load(__half x) { return __half2float(x); }
__device__ float Load(__nv_bfloat16 x) { return __bfloat162float(x); }
__device__ void Store(float x, float* out) { *out = x; }
__device__ void Store(float x, __half* out) { *out = __float2half_rn(x); }
__device__ void Store(float x, __nv_bfloat16* out) { *out = __float2bfloat16_rn(x); }

// The heads of a block lie in shared memory, one for each thread, so that global memory is read in
// order. The stride head_dim + 1 keeps the elements of different threads in different banks.
template <typename T>
__global__ void RoundTripHeadsKernel(const T* in, T* out, int64_t rows, int64_t tokens,
                                     int64_t head_dim, HeadArithmetic arithmetic,
                                     StaticScales scales) {
  extern __shared__ float heads[];
  const int64_t first = static_cast<int64_t>(blockIdx.x) * blockDim.x;
  const int64_t count = rows - first < blockDim.x ? rows - first : blockDim.x;
  const int64_t stride = head_dim + 1;
  for (int64_t i = threadIdx.x; i < count * head_dim; i += blockDim.x) {
    heads[i / head_dim * stride + i % head_dim] = Load(in[first * head_dim + i]);
  }
  __syncthreads();
  if (threadIdx.x < count) {
    const int64_t head = (first + threadIdx.x) / tokens;
    const float scale = scales.count == 0 ? 1.0f : scales.of_head[head % scales.count];
    RoundTripHead({heads + threadIdx.x * stride, head_dim, 1}, arithmetic, scale);
  }
  __syncthreads();
  for (int64_t i = threadIdx.x; i < count * head_dim; i += blockDim.x) {
    Store(heads[i / head_dim * stride + i % head_dim], &out[first * head_dim + i]);
  }
}

// Each thread takes one channel of one group, and neighbouring threads take neighbouring channels.
template <typename T>
__global__ void RoundTripColumnsKernel(const T* in, T* out, int64_t columns, int64_t head_dim,
                                       HeadArithmetic arithmetic) {
  extern __shared__ float elements[];
  const int64_t column = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (column >= columns) return;
  const int64_t first = column / head_dim * arithmetic.group * head_dim + column % head_dim;
  float* own = elements + threadIdx.x;
  for (int64_t t = 0; t < arithmetic.group; ++t)
    own[t * blockDim.x] = Load(in[first + t * head_dim]);
  RoundTripRow({own, arithmetic.group, blockDim.x}, {arithmetic.numerics, arithmetic.bits});
  for (int64_t t = 0; t < arithmetic.group; ++t)
    Store(own[t * blockDim.x], &out[first + t * head_dim]);
}

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

int ThreadsFor(size_t bytes_per_thread) {
  const size_t fitting = kSharedBytes / bytes_per_thread;
  if (fitting == 0) {
    throw Error("quantizing a cache on CUDA: found a row of " +
                std::to_string(bytes_per_thread / sizeof(float)) + " elements, expected at most " +
                std::to_string(kSharedBytes / sizeof(float)));
  }
  return static_cast<int>(std::min<size_t>(kThreads, fitting));
}

unsigned BlocksFor(int64_t rows, int threads) {
  return static_cast<unsigned>((rows + threads - 1) / threads);
}

void RequireLaunched() {
  if (const cudaError_t error = cudaGetLastError(); error != cudaSuccess) {
    throw Error("quantizing a cache on CUDA: found \"" + std::string(cudaGetErrorString(error)) +
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

}  // namespace

void RoundTripHeadsOnCuda(const CudaHeads& x, const HeadsShape& shape,
                          const HeadArithmetic& arithmetic, std::span<const float> static_scales) {
  StaticScales scales{};
  if (static_scales.size() > kLargestHeadCount) {
    throw Error("quantizing a cache on CUDA: found " + std::to_string(static_scales.size()) +
                " KV heads, expected at most " + std::to_string(kLargestHeadCount));
  }
  std::copy(static_scales.begin(), static_scales.end(), scales.of_head);
  scales.count = static_cast<int>(static_scales.size());
  const CurrentDevice current(x.device);
  const int64_t rows = shape.heads * shape.tokens;
  const size_t bytes = static_cast<size_t>(shape.head_dim + 1) * sizeof(float);
  const int threads = ThreadsFor(bytes);
  WithElementType(x.type, [&](auto* element) {
    using T = std::remove_pointer_t<decltype(element)>;
    RoundTripHeadsKernel<T><<<BlocksFor(rows, threads), threads, bytes * threads>>>(
        static_cast<const T*>(x.in), static_cast<T*>(x.out), rows, shape.tokens, shape.head_dim,
        arithmetic, scales);
  });
  RequireLaunched();
}

void RoundTripColumnsOnCuda(const CudaHeads& x, const HeadsShape& shape,
                            const HeadArithmetic& arithmetic) {
  const CurrentDevice current(x.device);
  const int64_t columns = shape.heads * (shape.tokens / arithmetic.group) * shape.head_dim;
  const size_t bytes = static_cast<size_t>(arithmetic.group) * sizeof(float);
  const int threads = ThreadsFor(bytes);
  WithElementType(x.type, [&](auto* element) {
    using T = std::remove_pointer_t<decltype(element)>;
    RoundTripColumnsKernel<T><<<BlocksFor(columns, threads), threads, bytes * threads>>>(
        static_cast<const T*>(x.in), static_cast<T*>(x.out), columns, shape.head_dim, arithmetic);
  });
  RequireLaunched();
}

}  // namespace kvtune
