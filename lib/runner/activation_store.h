// Hidden states of many prompts while they wait for their next layer.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "lib/base/scratch_file.h"
#include "lib/runner/torch.h"

namespace kvtune {

// Keeps one tensor a prompt, in memory up to a limit and beyond it in a memory-mapped temporary
// file. Different prompts may be put and taken by different threads.
class ActivationStore {
 public:
  // Prompt i never puts more than bytes_of_prompt[i]. The first prompts that fit `max_bytes`
  // together stay in memory. Throws Error when there is no room for the file.
  ActivationStore(std::span<const int64_t> bytes_of_prompt, int64_t max_bytes);

  // REQUIRES: nothing is there for this prompt.
  void Put(size_t prompt, at::Tensor hidden);
  // What was put, on its device, and no longer kept.
  at::Tensor Take(size_t prompt);
  int64_t spilled_bytes() const { return static_cast<int64_t>(file_ ? file_->bytes().size() : 0); }

 private:
  struct Slot {
    at::Tensor kept;
    std::span<std::byte> spill;  // empty: `kept` holds it
    std::vector<int64_t> shape;  // of what is in `spill`
    at::TensorOptions options;
  };

  std::unique_ptr<ScratchFile> file_;
  std::vector<Slot> slots_;
};

}  // namespace kvtune
