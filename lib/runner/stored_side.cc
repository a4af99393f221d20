#include "lib/runner/stored_side.h"

#include <map>
#include <optional>
#include <utility>

namespace kvtune {
namespace {

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

void StoredSide::Store(int64_t row, const at::Tensor& prompt, int64_t first) {
  const int64_t count = prompt.size(1) - first;
  if (count > 0) held_.select(0, row).narrow(1, first, count).copy_(prompt.narrow(1, first, count));
}

void StoredSide::Copy(int64_t from, int64_t to, int64_t tokens) {
  held_.select(0, to).narrow(1, 0, tokens).copy_(held_.select(0, from).narrow(1, 0, tokens));
}

void StoredSide::SortRows(DeviceNumbers& numbers) {
  std::map<KvFormatId, std::vector<int64_t>> rows_of_format;
  for (size_t row = 0; row < format_of_row_.size(); ++row)
    rows_of_format[format_of_row_[row]].push_back(static_cast<int64_t>(row));
  arriving_.clear();
  windowed_.clear();
  std::vector<int64_t> order, others;
  for (auto& [format, rows] : rows_of_format) {
    const bool has_window = FormatOf(format).residual_window_tokens > 0;
    const bool arrives = !has_window && format != KvFormatId::kExact;
    if (arrives) arriving_.push_back({format, std::ssize(order), std::ssize(rows)});
    std::vector<int64_t>& place = arrives ? order : others;
    place.insert(place.end(), rows.begin(), rows.end());
    if (has_window) windowed_.push_back({format, std::move(rows)});
  }
  if (arriving_.empty()) return;
  order.insert(order.end(), others.begin(), others.end());
  numbers.Add(order, order_);
}

void StoredSide::Prepare(const StepPositions& positions, DeviceNumbers& numbers) {
  if (std::exchange(formats_changed_, false)) SortRows(numbers);
  filled_.clear();
  filled_.reserve(windowed_.size());
  for (const auto& [format, rows_of_format] : windowed_) {
    const int64_t window = FormatOf(format).residual_window_tokens;
    std::vector<int64_t> rows, groups;
    for (const int64_t row : rows_of_format) {
      const int64_t tokens = positions.of_row[static_cast<size_t>(row)] + 1;
      if (tokens % window != 0) continue;
      rows.push_back(row);
      groups.push_back(tokens / window - 1);
    }
    if (rows.empty()) continue;
    Filled& filled = filled_.emplace_back(Filled{.format = format});
    numbers.Add(rows, filled.rows);
    numbers.Add(groups, filled.groups);
  }
}

void StoredSide::Append(const at::Tensor& tokens, const StepPositions& positions,
                        const LayerSide& side) {
  if (arriving_.empty()) {
    at::index_put_(held_, RowAndPlace(all_rows_, positions.index), tokens);
    return;
  }
  const at::Tensor exact = tokens.index_select(0, order_);
  std::vector<at::Tensor> stored;
  int64_t end = 0;  // of what is quantized
  for (const auto& [format, begin, count] : arriving_) {
    // [rows of the format, kv_heads, 1, head_dim]
    const at::Tensor arrived = exact.narrow(0, begin, count).unsqueeze(2);
    stored.push_back(FakeQuantize(arrived, FormatOf(format), side).squeeze(2));
    end = begin + count;
  }
  if (end < exact.size(0)) stored.push_back(exact.narrow(0, end, exact.size(0) - end));
  at::index_put_(held_, RowAndPlace(order_, positions.index.index_select(0, order_)),
                 at::cat(stored));
}

void StoredSide::Flush(const LayerSide& side) {
  for (const auto& [id, rows, groups] : filled_) {
    const KvFormat& format = FormatOf(id);
    const int64_t window = format.residual_window_tokens;
    const int64_t whole = held_.size(2) / window;
    // [rows, kv_heads, groups, window, head_dim]
    at::Tensor by_group = held_.narrow(2, 0, whole * window).unflatten(2, {whole, window});
    const auto full = RowAndPlace(rows, groups);
    const at::Tensor exact = at::index(by_group, full);  // [rows, kv_heads, window, head_dim]
    at::index_put_(by_group, full, FakeQuantize(exact.contiguous(), format, side));
  }
}

}  // namespace kvtune
