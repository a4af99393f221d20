#include "lib/runner/device_numbers.h"

namespace kvtune {

void DeviceNumbers::Add(std::span<const int64_t> numbers, at::Tensor& slice) {
  parts_.push_back({&slice, std::ssize(numbers_), std::ssize(numbers)});
  numbers_.insert(numbers_.end(), numbers.begin(), numbers.end());
}

void DeviceNumbers::Send(const at::Device& device) {
  const at::Tensor sent = at::from_blob(numbers_.data(), {std::ssize(numbers_)}, at::kLong)
                              .to(device, at::kLong, /*non_blocking=*/false, /*copy=*/true);
  for (const Part& part : parts_) *part.slice = sent.narrow(0, part.begin, part.count);
  numbers_.clear();
  parts_.clear();
}

}  // namespace kvtune
