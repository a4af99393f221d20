// The tensors of a checkpoint on their device, whatever form they are stored in.
#pragma once

#include <string>
#include <vector>

#include "lib/io/checkpoint.h"
#include "lib/runner/torch.h"

namespace kvtune {

class TensorReader {
 public:
  // Tensors are converted to `options`' type and device. REQUIRES: `checkpoint` outlives the
  // reader.
  TensorReader(const Checkpoint& checkpoint, const at::TensorOptions& options)
      : checkpoint_(checkpoint), options_(options) {}

  // Reads the tensor from the file, each time it is called. Throws Error for a missing or misshapen
  // tensor and for one that holds NaN or infinity, naming it. Thread-safe.
  at::Tensor Read(const std::string& name, const std::vector<int64_t>& shape) const;

 private:
  const Checkpoint& checkpoint_;
  at::TensorOptions options_;
};

}  // namespace kvtune
