#include "lib/runner/stored_side.h"

#include <optional>
#include <utility>

namespace kvtune {
namespace {

at::Tensor IndexOf(std::vector<int64_t>& numbers, const at::Device& device) {
  return at::from_blob(numbers.data(), {static_cast<int64_t>(numbers.size())}, at::kLong)
      .to(device, at::kLong, /*non_blocking=*/false, /*copy=*/true);
}

// Chooses rows in the first dimension and one place each in the third: [rows, heads, places, ...].
c10::List<std::optional<at::Tensor>> RowAndPlace(const at::Tensor& rows, const at::Tensor& places) {
  c10::List<std::optional<at::Tensor>> indices;
  indices.push_back(rows);
  indices.push_back(std::nullopt);
  indices.push_back(places);
  return indices;
}

}  // namespace

StoredSide::StoredSide(int64_t rows, int64_t kv_heads, int64_t max_tokens, int64_t head_dim,
                       const at::TensorOptions& options)
    : held_(at::zeros({rows, kv_heads, max_tokens, head_dim}, options)),
      all_rows_(at::arange(rows, options.dtype(at::kLong))),
      format_of_row_(static_cast<size_t>(rows), KvFormatId::kExact) {}

void StoredSide::SetFormat(int64_t row, KvFormatId format) {
  KvFormatId& current = format_of_row_[static_cast<size_t>(row)];
  formats_changed_ = formats_changed_ || current != format;
  current = format;
}

void StoredSide::Store(int64_t row, const at::Tensor& prompt) {
  held_.select(0, row).narrow(1, 0, prompt.size(1)).copy_(prompt);
}

const std::map<KvFormatId, StoredSide::FormatRows>& StoredSide::RowsByFormat() {
  if (!std::exchange(formats_changed_, false)) return rows_by_format_;
  rows_by_format_.clear();
  for (size_t row = 0; row < format_of_row_.size(); ++row) {
    if (format_of_row_[row] != KvFormatId::kExact)
      rows_by_format_[format_of_row_[row]].rows.push_back(static_cast<int64_t>(row));
  }
  for (auto& [format, of_format] : rows_by_format_)
    of_format.index = IndexOf(of_format.rows, held_.device());
  return rows_by_format_;
}

void StoredSide::Append(const at::Tensor& tokens, const StepPositions& positions,
                        const LayerSide& side) {
  at::Tensor arriving = tokens;
  bool is_own = false;  // `tokens` belong to the caller
  for (const auto& [id, of_format] : RowsByFormat()) {
    const KvFormat& format = FormatOf(id);
    if (format.residual_window_tokens > 0) continue;
    // [rows of the format, kv_heads, 1, head_dim]
    const at::Tensor exact = tokens.index_select(0, of_format.index).unsqueeze(2);
    if (!is_own) arriving = tokens.clone();
    is_own = true;
    arriving.index_copy_(0, of_format.index, FakeQuantize(exact, format, side).squeeze(2));
  }
  at::index_put_(held_, RowAndPlace(all_rows_, positions.index), arriving);
}

void StoredSide::Flush(const StepPositions& positions, const LayerSide& side) {
  for (const auto& [id, of_format] : RowsByFormat()) {
    const KvFormat& format = FormatOf(id);
    const int64_t window = format.residual_window_tokens;
    if (window == 0) continue;
    std::vector<int64_t> rows, groups;
    for (const int64_t row : of_format.rows) {
      const int64_t tokens = positions.of_row[static_cast<size_t>(row)] + 1;
      if (tokens % window != 0) continue;
      rows.push_back(row);
      groups.push_back(tokens / window - 1);
    }
    if (rows.empty()) continue;
    const int64_t whole = held_.size(2) / window;
    // [rows, kv_heads, groups, window, head_dim]
    at::Tensor by_group = held_.narrow(2, 0, whole * window).unflatten(2, {whole, window});
    const auto full = RowAndPlace(IndexOf(rows, held_.device()), IndexOf(groups, held_.device()));
    const at::Tensor exact = at::index(by_group, full);  // [rows, kv_heads, window, head_dim]
    at::index_put_(by_group, full, FakeQuantize(exact.contiguous(), format, side));
  }
}

}  // namespace kvtune
