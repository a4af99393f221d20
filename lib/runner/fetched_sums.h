// Sums in float64 on their way from the device to the host.
#pragma once

#include <initializer_list>
#include <span>
#include <vector>

#include "lib/runner/torch.h"

namespace kvtune {

// Brings several tensors to the host in one transfer, which a GPU makes when it has computed them.
// The host waits for it only when it reads the numbers, so that it can give the GPU more work
// first.
class FetchedSums {
 public:
  // REQUIRES: at least one tensor; all are in float64 on the same device.
  explicit FetchedSums(std::initializer_list<at::Tensor> sums);

  // Waits for the transfer. Returns the numbers of each tensor, row-major, which live as long as
  // this object.
  std::vector<std::span<const double>> Read() const;

 private:
  at::Tensor numbers_;  // of all tensors, on the host
  c10::Event arrived_;  // never recorded on a CPU
  std::vector<size_t> counts_;
};

}  // namespace kvtune
