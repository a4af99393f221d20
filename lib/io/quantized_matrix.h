// A weight matrix that a checkpoint stores quantized, and how it becomes floats again.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "lib/io/checkpoint.h"

namespace kvtune {

class QuantizedMatrix {
 public:
  virtual ~QuantizedMatrix() = default;

  // Writes the rows [first_row, first_row + row_count) of the matrix, row-major: scale * (stored
  // value
  // - zero point), the product rounded to float32 once. Const and thread-safe.
  virtual void Dequantize(int64_t first_row, int64_t row_count, float* values) const = 0;

  // Tells the system that the stored values will not be read again soon.
  virtual void DropPages() const = 0;
};

// The matrix `name` ("model.layers.0.mlp.up_proj.weight") of this shape; null where the checkpoint
// stores it as floats, to be read with Checkpoint::Get, and where it stores it not at all. Throws
// Error for parts of the matrix that are missing or misshapen, naming them.
// REQUIRES: the checkpoint outlives the matrix.
std::unique_ptr<QuantizedMatrix> FindQuantizedMatrix(const Checkpoint& checkpoint,
                                                     const std::string& name, int64_t rows,
                                                     int64_t columns);

// The matrices [rows, columns] of a layer's experts, one below the other, as MXFP4: `name` is
// "model.layers.0.mlp.experts.down_proj". Null and Error as above.
std::unique_ptr<QuantizedMatrix> FindQuantizedExperts(const Checkpoint& checkpoint,
                                                      const std::string& name, int64_t experts,
                                                      int64_t rows, int64_t columns);

}  // namespace kvtune
