// Weights that a checkpoint packs into words of 32 bits, as AWQ and GPTQ do, turned into floats on
// CUDA. This file is torch-free.
#pragma once

#include <cstdint>

#include "lib/kernels/cuda/cuda_place.h"

namespace kvtune {

// Which values a word holds, its lowest bits first. Matrices are [rows, columns].
enum class WordOrder {
  kAwq,      // words [columns, rows / 8]: eight rows in the order 0 2 4 6 1 3 5 7
  kColumns,  // words [columns / n, rows]: n neighbouring columns, as GPTQ
  kRows,     // words [rows, columns / n]: n neighbouring columns, as compressed-tensors
};

// All pointers are to memory of the device.
struct CudaWords {
  WordOrder order = WordOrder::kAwq;
  int bits = 4;  // 4 or 8
  int64_t rows = 0, columns = 0;
  const uint32_t* words = nullptr;
  const int32_t* group_of = nullptr;  // [columns]
  const float* scales = nullptr;      // [groups, rows]
  const float* zeros = nullptr;       // [groups, rows]
};

// Writes (value - zero) * scale, rounded to float32 after each operation and then to the type of
// `place`: [rows, columns]. Throws Error when the launch fails.
void DequantizeWordsOnCuda(const CudaPlace& place, const CudaWords& matrix, void* out);

}  // namespace kvtune
