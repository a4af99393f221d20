// A store for the hidden states of many batches of prompts while they wait for their next layer.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "lib/base/scratch_file.h"
#include "lib/runner/torch.h"

namespace kvtune {

// Keeps one tensor for each batch: in memory up to a limit, and beyond it in a memory-mapped
// temporary file. Different threads may put and take the tensors of different batches.
class ActivationStore {
 public:
  // `bytes_of_batch[i]` is the most that batch i ever puts. The first batches that together fit
  // into `max_bytes` stay in memory. Throws Error when there is no room for the file.
  ActivationStore(std::span<const int64_t> bytes_of_batch, int64_t max_bytes);

  // REQUIRES: nothing is stored for this batch.
  void Put(size_t batch, at::Tensor hidden);
  // Returns what was put for this batch, on its device, and removes it from the store.
  at::Tensor Take(size_t batch);
  int64_t spilled_bytes() const { return static_cast<int64_t>(file_ ? file_->bytes().size() : 0); }

 private:
  struct Slot {
    at::Tensor kept;
    std::span<std::byte> spill;  // empty when `kept` holds the tensor
    std::vector<int64_t> shape;  // shape of the tensor in `spill`
    at::TensorOptions options;
  };

  std::unique_ptr<ScratchFile> file_;
  std::vector<Slot> slots_;
};

}  // namespace kvtune
