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

  // Writes the rows [first_row, first_row + row_count) of the matrix in row-major order. Each value
  // is scale * (stored value - zero point), rounded to float32 once. It is const and thread-safe.
  virtual void Dequantize(int64_t first_row, int64_t row_count, float* values) const = 0;

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
