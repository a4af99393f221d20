// One side (keys or values) of one layer's cache, for many sequences at once.
#pragma once

#include <cstdint>
#include <vector>

#include "lib/core/kv_format.h"
#include "lib/runner/device_numbers.h"
#include "lib/runner/fake_quantize.h"
#include "lib/runner/torch.h"

namespace kvtune {

// A token of a sequence that is decoded, and of which all rows of a cache have one.
struct StepPositions {
  std::vector<int64_t> of_row;  // the token's position in its sequence
  at::Tensor index;             // the same, [rows] of int64 on the device
};

// Every row is a sequence with a format of its own. The values are held as the engine's cache would
// give them back, which every format and device can do. PackedSequences holds packed codes instead.
//
// A token of a format without a residual window is quantized when it arrives. With a window, the
// newest tokens are exact until they fill a group, which is quantized once the last of them has
// attended. All tokens are kept, also those that a sliding window has left behind.
class StoredSide {
 public:
  // Holds up to `max_tokens` tokens of `rows` sequences, all of them exact at first.
  StoredSide(int64_t rows, int64_t kv_heads, int64_t max_tokens, int64_t head_dim,
             const at::TensorOptions& options);

  // Sets the format of a row that is about to begin.
  void SetFormat(int64_t row, KvFormatId format);

  // Puts the prompt of a row in place from token `first` on. prompt: as the row's format stores it,
  // [kv_heads, tokens, head_dim]
  void Store(int64_t row, const at::Tensor& prompt, int64_t first = 0);
  // Copies the first tokens of a row to another one.
  void Copy(int64_t from, int64_t to, int64_t tokens);

  // Prepares a step: adds what it needs on the device. REQUIRES: `numbers` are sent before Append.
  void Prepare(const StepPositions& positions, DeviceNumbers& numbers);
  // Adds the newest token of every row: [rows, kv_heads, head_dim].
  void Append(const at::Tensor& tokens, const StepPositions& positions, const LayerSide& side);
  // To be called when the newest tokens have attended: quantizes the groups that they filled.
  void Flush(const LayerSide& side);

  // [rows, kv_heads, max_tokens, head_dim]; what lies behind a row's newest token is undefined.
  const at::Tensor& held() const { return held_; }

 private:
  // Rows whose tokens are quantized in the same format when they arrive: a part of order_.
  struct Arriving {
    KvFormatId format = KvFormatId::kExact;
    int64_t begin = 0;
    int64_t count = 0;
  };
  // Rows of one format with a residual window.
  struct Windowed {
    KvFormatId format = KvFormatId::kExact;
    std::vector<int64_t> rows;
  };
  // Groups that a step fills, one of each row: both are [rows].
  struct Filled {
    KvFormatId format = KvFormatId::kExact;
    at::Tensor rows = {};
    at::Tensor groups = {};
  };

  // Sorts the rows by their formats.
  void SortRows(DeviceNumbers& numbers);

  at::Tensor held_;
  at::Tensor all_rows_;  // [rows] of int64: 0, 1, ...
  std::vector<KvFormatId> format_of_row_;
  bool formats_changed_ = true;
  std::vector<Arriving> arriving_;
  at::Tensor order_;  // [rows] of int64: those of arriving_, then all others
  std::vector<Windowed> windowed_;
  std::vector<Filled> filled_;  // by this step
};

}  // namespace kvtune
