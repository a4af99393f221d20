// A weight matrix that a checkpoint stores quantized, and how it becomes floats again.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "lib/io/checkpoint.h"
#include "lib/io/weight_format.h"

namespace kvtune {

// A matrix whose values lie in words of 32 bits, as it is stored: for who unpacks it elsewhere.
struct StoredWords {
  WeightCoding coding = WeightCoding::kAwq;  // or kGptq or kPacked
  int bits = 4;                              // 4 or 8
  int64_t rows = 0, columns = 0;
  std::span<const std::byte> words;   // not aligned
  std::span<const int32_t> group_of;  // [columns]
  std::span<const float> scales;      // [groups, rows]
  std::span<const float> zeros;       // [groups, rows]
};

class QuantizedMatrix {
 public:
  virtual ~QuantizedMatrix() = default;

  // Writes the rows [first_row, first_row + row_count) of the matrix in row-major order. Each value
  // is scale * (stored value - zero point), rounded to float32 once. It is const and thread-safe.
  virtual void Dequantize(int64_t first_row, int64_t row_count, float* values) const = 0;

  // The parts from which Dequantize computes, as long as the matrix lives; nullopt for a matrix
  // that is not stored in words.
  virtual std::optional<StoredWords> Words() const { return std::nullopt; }

  // Tells the system that the stored values will not be read again soon.
  virtual void DropPages() const = 0;
};

// The matrix `name` ("model.layers.0.mlp.up_proj.weight") of this shape. The result is null where
// the checkpoint stores the matrix as floats, which Checkpoint::Get reads, and where it does not
// store it at all. Throws Error when parts of the matrix are missing or misshapen, and names them.
// REQUIRES: the checkpoint outlives the matrix.
std::unique_ptr<QuantizedMatrix> FindQuantizedMatrix(const Checkpoint& checkpoint,
                                                     const std::string& name, int64_t rows,
                                                     int64_t columns);

// The MXFP4 matrices [rows, columns] of a layer's experts, one below the other. `name` is a name
// like "model.layers.0.mlp.experts.down_proj". The result is null, and Error is thrown, in the same
// cases as above.
std::unique_ptr<QuantizedMatrix> FindQuantizedExperts(const Checkpoint& checkpoint,
                                                      const std::string& name, int64_t experts,
                                                      int64_t rows, int64_t columns);

}  // namespace kvtune
