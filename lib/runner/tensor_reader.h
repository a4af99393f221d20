// Reads the tensors of a checkpoint to their device, in whatever form they are stored.
#pragma once

#include <string>
#include <vector>

#include "lib/io/checkpoint.h"
#include "lib/runner/torch.h"

namespace kvtune {

class TensorReader {
 public:
  // Tensors are converted to the type and device of `options`. REQUIRES: `checkpoint` outlives the
  // reader.
  TensorReader(const Checkpoint& checkpoint, const at::TensorOptions& options)
      : checkpoint_(checkpoint), options_(options) {}

  // Reads the tensor from the file, again on each call. Throws Error naming a tensor that is
  // missing or misshapen or that holds NaN or infinity. Thread-safe.
  at::Tensor Read(const std::string& name, const std::vector<int64_t>& shape) const;

 private:
  const Checkpoint& checkpoint_;
  at::TensorOptions options_;
};

}  // namespace kvtune
