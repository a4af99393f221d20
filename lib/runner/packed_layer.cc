#include "lib/runner/packed_layer.h"

#include "lib/base/error.h"
#include "lib/kernels/packed_cpu.h"
#include "lib/runner/cuda_kernels.h"
#if defined(KVTUNE_CUDA_KERNELS)
#include "lib/kernels/cuda/packed_cuda.h"
#endif

namespace kvtune {
namespace {

const uint16_t* BitsOf(const at::Tensor& x) {
  return static_cast<const uint16_t*>(x.const_data_ptr());
}

void Fill(const PackedCache& cache, const PackedTokens& tokens, const at::Tensor& like) {
#if defined(KVTUNE_CUDA_KERNELS)
  if (like.is_cuda()) return FillOnCuda(cache, tokens, PlaceOf(like));
#endif
  (void)like;
  FillOnCpu(cache, tokens);
}

}  // namespace

PackedLayer::PackedLayer(const PackedLayout& layout, int64_t sequences, int64_t kv_heads,
                         int64_t tokens, const at::Device& device)
    : layout_(layout),
      sequences_(sequences),
      kv_heads_(kv_heads),
      tokens_(tokens),
      pages_per_sequence_((tokens + kPageTokens - 1) / kPageTokens) {
#if !defined(KVTUNE_CUDA_KERNELS)
  if (!device.is_cpu()) {
    throw Error("packing a cache on " + device.str() +
                ": found a kvtune that was built without CUDA kernels, expected -DKVTUNE_CUDA=ON");
  }
#endif
  const auto bytes = at::TensorOptions(at::kByte).device(device);
  const auto ints = at::TensorOptions(at::kInt).device(device);
  pages_ = at::empty({sequences * pages_per_sequence_, kv_heads, layout.page.bytes}, bytes);
  windows_ = at::empty({sequences, kv_heads, layout.window.bytes}, bytes);
  // The pages of a sequence lie apart, as those of a serving engine do.
  page_table_ = at::arange(sequences * pages_per_sequence_, ints)
                    .view({pages_per_sequence_, sequences})
                    .t()
                    .contiguous();
  lengths_ = at::full({sequences}, tokens, ints);
}

PackedCache PackedLayer::View() const {
  return {layout_,
          sequences_,
          kv_heads_,
          pages_per_sequence_,
          static_cast<uint8_t*>(pages_.mutable_data_ptr()),
          page_table_.const_data_ptr<int32_t>(),
          static_cast<uint8_t*>(windows_.mutable_data_ptr()),
          lengths_.const_data_ptr<int32_t>(),
          tokens_};
}

void PackedLayer::FillRandomly() {
  PackedLayer first(layout_, 1, kv_heads_, tokens_, pages_.device());
  const auto options = at::TensorOptions(at::kBFloat16).device(pages_.device());
  const at::Tensor keys = at::randn({1, kv_heads_, tokens_, layout_.head_dim}, options);
  const at::Tensor values = at::randn({1, kv_heads_, tokens_, layout_.head_dim}, options);
  Fill(first.View(), {BitsOf(keys), BitsOf(values), tokens_}, keys);
  pages_.view({pages_per_sequence_, sequences_, -1})
      .copy_(first.pages_.view({pages_per_sequence_, 1, -1})
                 .expand({pages_per_sequence_, sequences_, -1}));
  if (windows_.numel() > 0) windows_.copy_(first.windows_.expand_as(windows_));
}

void PackedLayer::Append(const at::Tensor& keys, const at::Tensor& values) {
  const PackedTokens newest{BitsOf(keys), BitsOf(values), 1};
#if defined(KVTUNE_CUDA_KERNELS)
  if (keys.is_cuda()) return AppendOnCuda(View(), newest, PlaceOf(keys));
#endif
  AppendOnCpu(View(), newest);
}

void PackedLayer::Attend(const at::Tensor& query, const Rule& rule, at::Tensor& out) {
  const PackedCache cache = View();
  const PackedQuery asked{.query = BitsOf(query),
                          .out = static_cast<uint16_t*>(out.mutable_data_ptr()),
                          .query_heads = query.size(1),
                          .scale = static_cast<float>(rule.scale),
                          .soft_cap = static_cast<float>(rule.soft_cap),
                          .sliding_window = rule.sliding_window};
#if defined(KVTUNE_CUDA_KERNELS)
  if (query.is_cuda()) {
    const CudaPlace place = PlaceOf(query);
    // The device is asked once how many blocks fill it; a known number costs no call.
    const PackedSplits splits = SplitsOnCuda(cache, asked, place, blocks_);
    blocks_ = splits.blocks;
    const int64_t floats = ScratchFloats(cache, asked, splits);
    if (!scratch_.defined() || scratch_.numel() < floats)
      scratch_ = at::empty({floats}, query.options().dtype(at::kFloat));
    return AttendOnCuda(cache, asked, splits, scratch_.mutable_data_ptr<float>(), place);
  }
#endif
  AttendOnCpu(cache, asked);
}

void PackedLayer::Flush() {
#if defined(KVTUNE_CUDA_KERNELS)
  if (pages_.is_cuda()) return FlushOnCuda(View(), PlaceOf(pages_));
#endif
  FlushOnCpu(View());
}

int64_t PackedLayer::bytes() const {
  return static_cast<int64_t>(pages_.storage().nbytes() + windows_.storage().nbytes());
}

}  // namespace kvtune
