// What a packed cache gives back against the operators of libtorch that quantize a cache in
// bfloat16 (fake_quantize.h).
#include "lib/runner/packed_layer.h"

#include <ATen/ops/randn.h>
#include <gtest/gtest.h>

#include <string>
#include <string_view>
#include <vector>

#include "lib/kernels/packed_cpu.h"
#include "lib/runner/fake_quantize.h"
#include "lib/targets/target.h"

namespace kvtune {
namespace {

constexpr int64_t kHeads = 2, kLayerTokens = 97, kHeadDim = 64;

// A cache of one sequence in plain memory.
struct OneSequence {
  PackedLayout layout;
  std::vector<uint8_t> pages, windows;
  std::vector<int32_t> table, tokens = {kLayerTokens};

  explicit OneSequence(PrecisionPair pair)
      : layout(PackedLayoutOf(pair, kHeadDim)),
        pages(static_cast<size_t>(2 * kHeads * layout.page.bytes)),
        windows(static_cast<size_t>(kHeads * layout.window.bytes)),
        table({static_cast<int32_t>(kHeads * layout.page.bytes / kPageUnit), 0}) {}

  PackedCache View() {
    return {.layout = layout,
            .sequences = 1,
            .kv_heads = kHeads,
            .pages = pages.data(),
            .page_table = table.data(),
            .table_stride = 2,
            .windows = windows.data(),
            .tokens = tokens.data(),
            .most_tokens = kLayerTokens};
  }
};

const uint16_t* BitsOf(const at::Tensor& x) {
  return static_cast<const uint16_t*>(x.const_data_ptr());
}

TEST(PackedLayer, CodesAreThoseOfTheOperators) {
  at::manual_seed(3);
  const at::Tensor keys = at::randn({1, kHeads, kLayerTokens, kHeadDim}, at::kBFloat16) + 0.5;
  const at::Tensor values = at::randn({1, kHeads, kLayerTokens, kHeadDim}, at::kBFloat16) * 3;
  for (const KvFormat& format : Formats()) {
    const PrecisionPair pair{format.id, format.id};
    if (!WhyNotPacked(pair, kHeadDim).empty()) continue;
    SCOPED_TRACE(format.name);
    OneSequence cache(pair);
    FillOnCpu(cache.View(), {BitsOf(keys), BitsOf(values), kLayerTokens});
    for (const KvSide side : {KvSide::kKey, KvSide::kValue}) {
      const at::Tensor& x = side == KvSide::kKey ? keys : values;
      const at::Tensor expected =
          FakeQuantize(x, format, {.side = side}).to(at::kFloat).contiguous();
      for (int64_t head = 0; head < kHeads; ++head) {
        for (int64_t token = 0; token < kLayerTokens; ++token) {
          std::vector<float> found(kHeadDim);
          ReadToken(cache.View(), side, 0, head, token, found.data());
          const float* row =
              expected.const_data_ptr<float>() + (head * kLayerTokens + token) * kHeadDim;
          ASSERT_EQ(found, std::vector<float>(row, row + kHeadDim))
              << "head " << head << ", token " << token;
        }
      }
    }
  }
}

// What the allocator gives is what CostOf counts and the padding that docs/cli.md states: the rest
// of the last page and, where the newest tokens wait in a window, a place in the pages for them
// too.
TEST(PackedLayer, TheAllocatorGivesTheCountedBytesAndTheStatedPadding) {
  constexpr int64_t kSequences = 3;
  ModelConfig model;
  model.query_heads = 4;
  model.layers = {{.kv_heads = kHeads, .key_head_dim = kHeadDim, .value_head_dim = kHeadDim}};
  for (const std::string_view name : {"kvtuner", "kvtuner-kivi"}) {
    const Target& target = FindTarget(name);
    std::vector<PrecisionPair> pairs = target.pairs;
    pairs.push_back(kExactPair);
    for (const PrecisionPair pair : pairs) {
      const PackedLayout layout = PackedLayoutOf(pair, kHeadDim);
      for (const int64_t tokens : {32, 33, 63, 64, 65, 97, 128, 4096, 8191}) {
        SCOPED_TRACE(PairLabel(pair) + " at " + std::to_string(tokens));
        const PackedLayer layer(layout, kSequences, kHeads, tokens, at::kCPU);
        const double counted =
            CostOf(target, PrecisionPlan::Uniform(pair, 1), model, tokens).bytes_per_token *
            static_cast<double>(tokens * kSequences);
        const int64_t last_page = (kPageTokens - tokens % kPageTokens) % kPageTokens;
        const double padding = static_cast<double>((last_page + layout.window_tokens) * kSequences *
                                                   kHeads * layout.page.bytes) /
                               static_cast<double>(kPageTokens);
        EXPECT_DOUBLE_EQ(static_cast<double>(layer.bytes()), counted + padding);
      }
    }
  }
}

// A layer as `kvtune bench` has it: the bytes of the layout, and a step that gives numbers.
TEST(PackedLayer, TakesTheBytesOfItsLayout) {
  for (const KvFormatId id : {KvFormatId::kInt4, KvFormatId::kKiviInt2, KvFormatId::kExact}) {
    const PackedLayout layout = PackedLayoutOf({id, id}, kHeadDim);
    PackedLayer layer(layout, 3, kHeads, kLayerTokens, at::kCPU);
    EXPECT_EQ(layer.bytes(), 3 * kHeads * (2 * layout.page.bytes + layout.window.bytes));
    layer.FillRandomly();
    const at::Tensor newest = at::randn({3, kHeads, kHeadDim}, at::kBFloat16);
    const at::Tensor query = at::randn({3, 2 * kHeads, kHeadDim}, at::kBFloat16);
    at::Tensor out = at::full({3, 2 * kHeads, kHeadDim}, std::nan(""), at::kBFloat16);
    layer.Append(newest, newest);
    layer.Attend(query, {.scale = 0.125}, out);
    layer.Flush();
    EXPECT_TRUE(at::isfinite(out).all().item<bool>());
  }
}

}  // namespace
}  // namespace kvtune
