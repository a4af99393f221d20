// Independent work of a device that overlaps.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "lib/runner/torch.h"

namespace kvtune {

// Spreads pieces of work over the current stream of a device and some beside it. Kernels that are
// too small to fill the device, or that end with a few blocks, then run together. On a CPU the
// pieces run one after another.
class SideStreams {
 public:
  explicit SideStreams(const at::Device& device);

  // Calls work(i, scratch) for i = 0 to count - 1; what it launches comes behind everything that
  // the current stream has been given before, and what the current stream is given afterwards
  // comes behind all pieces. Pieces with the same scratch follow one another.
  using Work = std::function<void(int64_t i, at::Tensor& scratch)>;
  void ForEach(int64_t count, const Work& work);

 private:
  struct Side {
    c10::Stream stream;
    c10::Event done;
    at::Tensor scratch = {};
  };

  void Join(int64_t sides, const c10::Stream& current);

  at::Device device_;
  c10::Event begin_;
  at::Tensor scratch_;  // of the current stream
  std::vector<Side> sides_;
};

}  // namespace kvtune
