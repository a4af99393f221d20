// Whole numbers on their way to the device.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "lib/runner/torch.h"

namespace kvtune {

// Collects the numbers that many parts of a step need and copies them in one go: for each copy of
// its own the host would wait until the device has done all that it was given.
class DeviceNumbers {
 public:
  // With the next Send, `slice` becomes these numbers: [count] of int64. REQUIRES: it lives so
  // long.
  void Add(std::span<const int64_t> numbers, at::Tensor& slice);
  void Send(const at::Device& device);

 private:
  struct Part {
    at::Tensor* slice;
    int64_t begin, count;
  };

  std::vector<int64_t> numbers_;
  std::vector<Part> parts_;
};

}  // namespace kvtune
