#include "lib/runner/packed_layer.h"

#include "lib/runner/packed_ops.h"

namespace kvtune {

PackedLayer::PackedLayer(const PackedLayout& layout, int64_t sequences, int64_t kv_heads,
                         int64_t tokens, const at::Device& device)
    : layout_(layout),
      sequences_(sequences),
      kv_heads_(kv_heads),
      tokens_(tokens),
      pages_per_sequence_((tokens + kPageTokens - 1) / kPageTokens) {
  RequirePacking(device);
  const auto bytes = at::TensorOptions(at::kByte).device(device);
  const auto ints = at::TensorOptions(at::kInt).device(device);
  pages_ = at::empty({sequences * pages_per_sequence_, kv_heads, layout.page.bytes}, bytes);
  windows_ = at::empty({sequences, kv_heads, layout.window.bytes}, bytes);
  // The pages of a sequence lie apart, as those of a serving engine do.
  page_table_ = at::arange(sequences * pages_per_sequence_, ints)
                    .mul_(kv_heads * layout.page.bytes / kPageUnit)
                    .view({pages_per_sequence_, sequences})
                    .t()
                    .contiguous();
  lengths_ = at::full({sequences}, tokens, ints);
}

PackedCache PackedLayer::View() const {
  return {.layout = layout_,
          .sequences = sequences_,
          .kv_heads = kv_heads_,
          .pages = static_cast<uint8_t*>(pages_.mutable_data_ptr()),
          .page_table = page_table_.const_data_ptr<int32_t>(),
          .table_stride = pages_per_sequence_,
          .windows = static_cast<uint8_t*>(windows_.mutable_data_ptr()),
          .tokens = lengths_.const_data_ptr<int32_t>(),
          .most_tokens = tokens_};
}

void PackedLayer::FillRandomly() {
  PackedLayer first(layout_, 1, kv_heads_, tokens_, pages_.device());
  const auto options = at::TensorOptions(at::kBFloat16).device(pages_.device());
  const at::Tensor keys = at::randn({1, kv_heads_, tokens_, layout_.head_dim}, options);
  const at::Tensor values = at::randn({1, kv_heads_, tokens_, layout_.head_dim}, options);
  FillPacked(first.View(), {BitsOfTensor(keys), BitsOfTensor(values), tokens_}, pages_.device());
  pages_.view({pages_per_sequence_, sequences_, -1})
      .copy_(first.pages_.view({pages_per_sequence_, 1, -1})
                 .expand({pages_per_sequence_, sequences_, -1}));
  if (windows_.numel() > 0) windows_.copy_(first.windows_.expand_as(windows_));
}

void PackedLayer::Append(const at::Tensor& keys, const at::Tensor& values) {
  AppendPacked(View(), {BitsOfTensor(keys), BitsOfTensor(values)}, pages_.device());
}

void PackedLayer::Attend(const at::Tensor& query, const Rule& rule, at::Tensor& out) {
  AttendPacked(View(),
               {.query = BitsOfTensor(query),
                .out = static_cast<uint16_t*>(out.mutable_data_ptr()),
                .query_heads = query.size(1),
                .scale = static_cast<float>(rule.scale),
                .soft_cap = static_cast<float>(rule.soft_cap),
                .sliding_window = rule.sliding_window},
               {&scratch_, &blocks_}, pages_.device());
}

void PackedLayer::Flush() { FlushPacked(View(), pages_.device()); }

int64_t PackedLayer::bytes() const {
  return static_cast<int64_t>(pages_.storage().nbytes() + windows_.storage().nbytes());
}

}  // namespace kvtune
