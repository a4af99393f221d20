#include "lib/runner/fetched_sums.h"

namespace kvtune {

FetchedSums::FetchedSums(std::initializer_list<at::Tensor> sums)
    : arrived_(sums.begin()->device().type()) {
  std::vector<at::Tensor> flat;
  for (const at::Tensor& x : sums) {
    flat.push_back(x.reshape({-1}));
    counts_.push_back(static_cast<size_t>(x.numel()));
  }
  numbers_ = at::cat(flat);
  const at::Device device = numbers_.device();
  if (device.is_cpu()) return;
  const at::Tensor there = numbers_;
  numbers_ = at::empty(there.sizes(), at::TensorOptions(at::kDouble).pinned_memory(true));
  numbers_.copy_(there, /*non_blocking=*/true);
  arrived_.record(c10::impl::VirtualGuardImpl(device.type()).getStream(device));
}

std::vector<std::span<const double>> FetchedSums::Read() const {
  arrived_.synchronize();
  std::span<const double> rest(numbers_.const_data_ptr<double>(),
                               static_cast<size_t>(numbers_.numel()));
  std::vector<std::span<const double>> parts;
  for (const size_t count : counts_) {
    parts.push_back(rest.first(count));
    rest = rest.subspan(count);
  }
  return parts;
}

}  // namespace kvtune
