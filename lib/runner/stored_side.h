// One side (keys or values) of one layer's cache, for many sequences at once.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <vector>

#include "lib/core/kv_format.h"
#include "lib/runner/fake_quantize.h"
#include "lib/runner/torch.h"

namespace kvtune {

// A token of a sequence that is decoded, and of which all rows of a cache have one.
struct StepPositions {
  std::vector<int64_t> of_row;  // the token's position in its sequence
  at::Tensor index;             // the same, [rows] of int64 on the device
};

// Every row is a sequence with a format of its own. The values are held as the engine's cache would
// give them back, which every format and device can do; a form that holds packed codes would have
// the same functions.
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

  // Puts the prompt of a row in place, as its format stores it: [kv_heads, tokens, head_dim].
  void Store(int64_t row, const at::Tensor& prompt);

  // Adds the newest token of every row: [rows, kv_heads, head_dim].
  void Append(const at::Tensor& tokens, const StepPositions& positions, const LayerSide& side);
  // To be called when the newest tokens have attended: quantizes the groups that they filled.
  void Flush(const StepPositions& positions, const LayerSide& side);

  // [rows, kv_heads, max_tokens, head_dim]; what lies behind a row's newest token is undefined.
  const at::Tensor& held() const { return held_; }

 private:
  // The rows of one format.
  struct FormatRows {
    std::vector<int64_t> rows;
    at::Tensor index;  // the same, on the device
  };

  const std::map<KvFormatId, FormatRows>& RowsByFormat();

  at::Tensor held_;
  at::Tensor all_rows_;  // [rows] of int64: 0, 1, ...
  std::vector<KvFormatId> format_of_row_;
  std::map<KvFormatId, FormatRows> rows_by_format_;
  bool formats_changed_ = true;
};

}  // namespace kvtune
