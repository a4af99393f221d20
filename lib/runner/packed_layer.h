// The packed cache of one layer as tensors, on a CPU or on CUDA.
#pragma once

#include <cstdint>

#include "lib/kernels/packed_cache.h"
#include "lib/runner/torch.h"

namespace kvtune {

// Takes the memory of a cache whose sequences all have the same number of tokens.
class PackedLayer {
 public:
  // Throws Error where the layout has no memory, and where a CUDA device has no kernels.
  PackedLayer(const PackedLayout& layout, int64_t sequences, int64_t kv_heads, int64_t tokens,
              const at::Device& device);

  // Fills every sequence with the same random keys and values.
  void FillRandomly();

  // A decode step is these three, in this order. It may be repeated: the newest token is always the
  // last one. All tensors are bfloat16 and contiguous.
  // keys, values: [sequences, kv_heads, head_dim]
  void Append(const at::Tensor& keys, const at::Tensor& values);
  struct Rule {
    double scale = 1;
    double soft_cap = 0;
    int64_t sliding_window = 0;
  };
  // query, out: [sequences, query_heads, head_dim]
  void Attend(const at::Tensor& query, const Rule& rule, at::Tensor& out);
  void Flush();

  // That the allocator gave for codes, parameters and windows.
  int64_t bytes() const;

 private:
  PackedCache View() const;

  PackedLayout layout_;
  int64_t sequences_, kv_heads_, tokens_;
  int64_t pages_per_sequence_;
  at::Tensor pages_;       // [pages, kv_heads, page bytes] of uint8
  at::Tensor windows_;     // [sequences, kv_heads, window bytes] of uint8
  at::Tensor page_table_;  // [sequences, pages_per_sequence] of int32, in kPageUnit
  at::Tensor lengths_;     // [sequences] of int32
  at::Tensor scratch_;     // what CUDA's kernels need, made by the first step
  int64_t blocks_ = 0;     // that CUDA's kernels are split over; 0: no step has been
};

}  // namespace kvtune
