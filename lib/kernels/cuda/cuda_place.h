// Where a CUDA kernel works and on what elements. This file is torch-free.
#pragma once

namespace kvtune {

enum class ElementType { kFloat32, kBFloat16, kFloat16 };

struct CudaPlace {
  int device = 0;
  void* stream = nullptr;  // a cudaStream_t; null stands for the default stream
  ElementType type = ElementType::kFloat32;
};

}  // namespace kvtune
