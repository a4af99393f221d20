#include "lib/runner/packed_sequences.h"

#include <algorithm>
#include <tuple>

#include "lib/runner/packed_ops.h"

namespace kvtune {
namespace {

// The queries of one KV head that read a unit together (PackedUnits).
constexpr int64_t kMostUnitQueries = 8;

int64_t PagesOf(int64_t tokens) { return (tokens + kPageTokens - 1) / kPageTokens; }

// One layer's part of what a sequence takes, in units of kPageUnit.
struct LayerUnits {
  int64_t page = 0;    // of all heads
  int64_t window = 0;  // the same
};
LayerUnits UnitsOf(const LayerConfig& layer, PrecisionPair pair) {
  const PackedLayout layout = PackedLayoutOf(pair, layer.key_head_dim);
  return {layer.kv_heads * layout.page.bytes / kPageUnit,
          layer.kv_heads * layout.window.bytes / kPageUnit};
}

at::Tensor OnDevice(std::span<const int64_t> numbers, const at::Device& device) {
  // from_blob takes a mutable pointer, but the copy only reads.
  return at::from_blob(const_cast<int64_t*>(numbers.data()), {std::ssize(numbers)}, at::kLong)
      .to(device, at::kLong, /*non_blocking=*/false, /*copy=*/true);
}

}  // namespace

bool CanPack(const LayerConfig& layer, std::span<const PrecisionPair> pairs, at::ScalarType type) {
  if (type != at::kBFloat16 || layer.key_head_dim != layer.value_head_dim) return false;
  return std::ranges::all_of(
      pairs, [&](PrecisionPair pair) { return WhyNotPacked(pair, layer.key_head_dim).empty(); });
}

PackedMemory::PackedMemory(std::vector<LayerConfig> layers, int64_t rows, int64_t most_tokens,
                           int64_t bytes, const at::Device& device)
    : layers_(std::move(layers)),
      entries_(PagesOf(most_tokens) + 1),
      pool_(bytes / kPageUnit),
      begin_of_row_(static_cast<size_t>(rows)) {
  RequirePacking(device);
  bytes_ = at::empty({bytes}, at::TensorOptions(at::kByte).device(device));
  table_ =
      at::zeros({rows, std::ssize(layers_), entries_}, at::TensorOptions(at::kInt).device(device));
}

int64_t PackedMemory::BytesOf(std::span<const LayerConfig> layers,
                              std::span<const PrecisionPair> pairs, int64_t tokens) {
  int64_t units = 0;
  for (size_t i = 0; i < layers.size(); ++i) {
    const LayerUnits of_layer = UnitsOf(layers[i], pairs[i]);
    units += PagesOf(tokens) * of_layer.page + of_layer.window;
  }
  return units * kPageUnit;
}

bool PackedMemory::Admit(int64_t row, std::span<const PrecisionPair> pairs, int64_t tokens) {
  const std::optional<int64_t> begin = pool_.Take(BytesOf(layers_, pairs, tokens) / kPageUnit);
  if (!begin) return false;
  begin_of_row_[static_cast<size_t>(row)] = begin;
  std::vector<int32_t> places(layers_.size() * static_cast<size_t>(entries_), 0);
  int64_t place = *begin;
  for (size_t i = 0; i < layers_.size(); ++i) {
    const LayerUnits of_layer = UnitsOf(layers_[i], pairs[i]);
    int32_t* entries = places.data() + i * static_cast<size_t>(entries_);
    for (int64_t page = 0; page < PagesOf(tokens); ++page, place += of_layer.page)
      entries[page] = static_cast<int32_t>(place);
    entries[entries_ - 1] = static_cast<int32_t>(place);
    place += of_layer.window;
  }
  table_.select(0, row).copy_(
      at::from_blob(places.data(), {std::ssize(layers_), entries_}, at::kInt));
  return true;
}

void PackedMemory::Release(int64_t row) {
  if (const auto begin = std::exchange(begin_of_row_[static_cast<size_t>(row)], std::nullopt))
    pool_.Give(*begin);
}

void PackedMemory::Place(size_t layer, PackedCache& cache) const {
  const int32_t* entries =
      table_.const_data_ptr<int32_t>() + static_cast<int64_t>(layer) * entries_;
  cache.pages = cache.windows = static_cast<uint8_t*>(bytes_.mutable_data_ptr());
  cache.page_table = entries;
  cache.window_table = entries + entries_ - 1;
  cache.table_stride = std::ssize(layers_) * entries_;
}

PackedSequences::PackedSequences(const LayerConfig& shape, int64_t query_heads, int64_t rows,
                                 const PackedMemory& memory, size_t layer)
    : shape_(shape),
      most_together_(std::max<int64_t>(1, kMostUnitQueries * shape.kv_heads / query_heads)),
      memory_(memory),
      layer_(layer),
      sequences_(static_cast<size_t>(rows)) {}

void PackedSequences::Begin(int64_t row, PrecisionPair pair) {
  sequences_[static_cast<size_t>(row)] = {.pair = pair};
  has_changed_ = true;
}

void PackedSequences::End(int64_t row) {
  sequences_[static_cast<size_t>(row)].reset();
  has_changed_ = true;
}

PackedCache PackedSequences::ViewOf(const PackedLayout& layout, const at::Tensor& rows,
                                    const at::Tensor& tokens, int64_t most_tokens) const {
  PackedCache cache{.layout = layout,
                    .sequences = rows.numel(),
                    .rows = rows.const_data_ptr<int64_t>(),
                    .kv_heads = shape_.kv_heads,
                    .tokens = tokens.const_data_ptr<int32_t>(),
                    .most_tokens = most_tokens};
  memory_.Place(layer_, cache);
  return cache;
}

void PackedSequences::Store(std::span<const int64_t> rows, const at::Tensor& keys,
                            const at::Tensor& values) {
  const at::Device device = keys.device();
  const int64_t tokens = keys.size(1);
  const at::Tensor lengths =
      at::full({std::ssize(sequences_)}, tokens, at::TensorOptions(at::kInt).device(device));
  std::map<PrecisionPair, std::vector<int64_t>> rows_of_pair;
  ++prompts_;
  for (const int64_t row : rows) {
    Sequence& sequence = *sequences_[static_cast<size_t>(row)];
    sequence.prompt = prompts_;
    sequence.same_pages = tokens / kPageTokens;
    rows_of_pair[sequence.pair].push_back(row);
  }
  const at::Tensor own_keys = keys.contiguous(), own_values = values.contiguous();
  for (const auto& [pair, some] : rows_of_pair) {
    const at::Tensor on_device = OnDevice(some, device);
    const PackedCache cache =
        ViewOf(PackedLayoutOf(pair, shape_.key_head_dim), on_device, lengths, tokens);
    FillPacked(cache,
               {.keys = BitsOfTensor(own_keys),
                .values = BitsOfTensor(own_values),
                .count = tokens,
                .row_stride = 0},
               device);
    FlushPacked(cache, device);  // All tokens of a prompt have attended.
  }
}

void PackedSequences::AddGroup(PrecisionPair pair, int64_t count) {
  const int64_t begin = groups_.empty() ? 0 : groups_.back().begin + groups_.back().count;
  const int64_t first_unit = std::ssize(units_) / 3;
  Group& group = groups_.emplace_back(Group{.layout = PackedLayoutOf(pair, shape_.key_head_dim),
                                            .begin = begin,
                                            .count = count,
                                            .first_unit = first_unit});
  for (int64_t i = 0, size = 0; i < count; i += size, ++group.units) {
    const Sequence& first = Of(rows_[static_cast<size_t>(begin + i)]);
    const auto goes_along = [&](int64_t j) {
      return first.same_pages > 0 &&
             Of(rows_[static_cast<size_t>(begin + j)]).prompt == first.prompt;
    };
    size = 1;
    while (size < most_together_ && i + size < count && goes_along(i + size)) ++size;
    units_.insert(units_.end(), {i, size, size > 1 ? first.same_pages : 0});
    group.unit_sizes.emplace(units_.back(), size);
    unit_of_row_.insert(unit_of_row_.end(), static_cast<size_t>(size), group.units);
  }
}

void PackedSequences::SortRows(DeviceNumbers& numbers) {
  rows_.clear();
  units_.clear();
  unit_of_row_.clear();
  groups_.clear();
  std::vector<std::tuple<PrecisionPair, int64_t, int64_t>> ordered;  // pair, prompt, row
  for (size_t row = 0; row < sequences_.size(); ++row) {
    if (const std::optional<Sequence>& of = sequences_[row])
      ordered.emplace_back(of->pair, of->prompt, static_cast<int64_t>(row));
  }
  std::ranges::sort(ordered);
  for (const auto& [pair, prompt, row] : ordered) rows_.push_back(row);
  for (size_t begin = 0, end = 0; begin < rows_.size(); begin = end) {
    const PrecisionPair pair = Of(rows_[begin]).pair;
    while (end < rows_.size() && Of(rows_[end]).pair == pair) ++end;
    AddGroup(pair, static_cast<int64_t>(end - begin));
  }
  numbers.Add(rows_, order_);
  numbers.Add(units_, device_units_);
  numbers.Add(unit_of_row_, device_unit_of_row_);
}

PackedUnits PackedSequences::UnitsOf(const Group& group) const {
  if (group.units == group.count) return {};  // Each sequence is read alone.
  PackedUnits units{.numbers = device_units_.const_data_ptr<int64_t>() + 3 * group.first_unit,
                    .of_sequence = device_unit_of_row_.const_data_ptr<int64_t>() + group.begin,
                    .count = group.units};
  for (const auto& [same, sequences] : group.unit_sizes)
    units.pages = std::max(units.pages, same + sequences * (PagesOf(group.most_tokens) - same));
  return units;
}

void PackedSequences::Prepare(std::span<const int64_t> tokens, DeviceNumbers& numbers) {
  if (std::exchange(has_changed_, false)) SortRows(numbers);
  for (Group& group : groups_) {
    group.most_tokens = 0;
    for (int64_t i = group.begin; i < group.begin + group.count; ++i) {
      const int64_t row = rows_[static_cast<size_t>(i)];
      group.most_tokens = std::max(group.most_tokens, tokens[static_cast<size_t>(row)]);
    }
  }
}

void PackedSequences::Attend(const QueryKeyValue& newest, const at::Tensor& tokens,
                             SideStreams& streams, at::Tensor& out) {
  const at::Device device = out.device();
  const at::Tensor query = newest.query.squeeze(0).contiguous();
  const at::Tensor keys = newest.key.squeeze(0).contiguous();
  const at::Tensor values = newest.value.squeeze(0).contiguous();
  const int64_t head_dim = shape_.key_head_dim, of_head = query.size(1) * head_dim;
  at::Tensor sinks;
  if (newest.rule.sinks.defined()) sinks = newest.rule.sinks.to(at::kFloat).contiguous();
  const PackedTokens arriving{.keys = BitsOfTensor(keys),
                              .values = BitsOfTensor(values),
                              .row_stride = head_dim,
                              .head_stride = of_head};
  const PackedQuery asked{.query = BitsOfTensor(query),
                          .row_stride = head_dim,
                          .head_stride = of_head,
                          .out = static_cast<uint16_t*>(out.mutable_data_ptr()),
                          .query_heads = query.size(0),
                          .soft_cap = static_cast<float>(newest.rule.soft_cap),
                          .sliding_window = newest.rule.window_tokens,
                          .sinks = sinks.defined() ? sinks.const_data_ptr<float>() : nullptr};
  streams.ForEach(std::ssize(groups_), [&](int64_t i, at::Tensor& scratch) {
    Group& group = groups_[static_cast<size_t>(i)];
    PackedCache cache =
        ViewOf(group.layout, order_.narrow(0, group.begin, group.count), tokens, group.most_tokens);
    if (newest.rule.window_tokens == 0) cache.units = UnitsOf(group);
    AppendPacked(cache, arriving, device);
    AttendPacked(cache, asked, {&scratch, &group.blocks}, device);
    FlushPacked(cache, device);
  });
}

}  // namespace kvtune
