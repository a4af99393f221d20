#include "lib/runner/plan_pass.h"

#include <algorithm>
#include <array>
#include <span>
#include <vector>

#include "lib/base/random.h"
#include "lib/kernels/parallel_loop.h"
#include "lib/runner/cuda_kernels.h"
#include "lib/runner/device_memory.h"
#include "lib/runner/plan_attention.h"

namespace kvtune {
namespace {

// Neighbouring parents with all their children, which go through a layer in one piece.
struct ParentBlock {
  size_t first_parent = 0, parents = 0;
  size_t first_node = 0;
  PlanTreeLayer nodes;  // their parent indices count from first_parent
};

// A block has at most `most_rows` rows of `tokens` each, or one parent.
std::vector<ParentBlock> BlocksOf(const PlanTreeLayer& nodes, int64_t tokens, int64_t most_rows) {
  const auto most_nodes = static_cast<size_t>(std::max<int64_t>(1, most_rows / tokens));
  std::vector<ParentBlock> blocks;
  for (size_t begin = 0, end = 0; begin < nodes.size(); begin = end) {
    while (end < nodes.size() && nodes[end].parent == nodes[begin].parent) ++end;
    const size_t parent = nodes[begin].parent;
    if (blocks.empty() || blocks.back().nodes.size() + end - begin > most_nodes ||
        parent != blocks.back().first_parent + blocks.back().parents) {
      blocks.push_back({parent, 0, begin, {}});
    }
    ParentBlock& block = blocks.back();
    ++block.parents;
    for (size_t i = begin; i < end; ++i)
      block.nodes.push_back({parent - block.first_parent, nodes[i].pair});
  }
  return blocks;
}

// REQUIRES: the block has at least two nodes.
std::array<ParentBlock, 2> HalvesOf(const ParentBlock& block) {
  const auto part = [&](size_t begin, size_t end) {
    const size_t first = block.nodes[begin].parent;
    ParentBlock some{.first_parent = block.first_parent + first,
                     .parents = block.nodes[end - 1].parent - first + 1,
                     .first_node = block.first_node + begin,
                     .nodes = {}};
    for (size_t i = begin; i < end; ++i)
      some.nodes.push_back({block.nodes[i].parent - first, block.nodes[i].pair});
    return some;
  };
  const size_t middle = block.nodes.size() / 2;
  return {part(0, middle), part(middle, block.nodes.size())};
}

// Does the work of Decoder::AddAttentionAndMlp for one node, in pieces large enough to fill matrix
// products and small enough to fit into caches.
void AddByRows(const Decoder& decoder, size_t layer, const at::Tensor& hidden,
               const at::Tensor& attention, int threads) {
  constexpr int64_t kRows = 128;
  const int64_t tokens = hidden.size(0);
  ParallelLoop(threads, static_cast<size_t>((tokens + kRows - 1) / kRows), [&](size_t i) {
    const c10::InferenceMode no_gradients;
    const int64_t begin = static_cast<int64_t>(i) * kRows;
    const int64_t count = std::min(kRows, tokens - begin);
    at::Tensor rows = hidden.narrow(0, begin, count);
    decoder.AddAttentionAndMlp(layer, rows, attention.narrow(0, begin, count));
  });
}

// Returns half the distance between neighbouring numbers, relative to the number itself.
double UnitRoundoff(at::ScalarType type) {
  if (type == at::kBFloat16) return 0x1p-8;
  if (type == at::kHalf) return 0x1p-11;
  return type == at::kFloat ? 0x1p-24 : 0x1p-53;
}

// Moves every element one rounding step up or down.
at::Tensor WithRoundingNoise(at::Tensor x, uint64_t seed) {
  const double step = UnitRoundoff(x.scalar_type());
  if (UsesCudaKernels(x)) {
    CudaAddRoundingNoise(x, step, seed);
    return x;
  }
  Random random(seed);
  at::Tensor factor = at::empty(x.sizes(), at::kDouble);
  double* factors = factor.mutable_data_ptr<double>();
  for (int64_t i = 0; i < factor.numel(); ++i)
    factors[i] = random.Below(2) == 0 ? 1 - step : 1 + step;
  return (x.to(at::kDouble) * factor.to(x.device())).to(x.scalar_type());
}

// Gives each node the hidden states of its parent.
void CopyParents(const PlanTreeLayer& nodes, const at::Tensor& parents,
                 const at::Tensor& children) {
  for (size_t child = 0; child < nodes.size(); ++child) {
    children.select(0, static_cast<int64_t>(child))
        .copy_(parents.select(0, static_cast<int64_t>(nodes[child].parent)));
  }
}

// Puts the earlier tokens of each parent in front of its own. own: [parents, kv_heads, tokens,
// head_dim]
at::Tensor Behind(const at::Tensor& earlier, std::span<const size_t> of_parent,
                  const at::Tensor& own) {
  const int64_t before = earlier.size(2);
  const at::Tensor all =
      at::empty({own.size(0), own.size(1), before + own.size(2), own.size(3)}, own.options());
  for (size_t parent = 0; parent < of_parent.size(); ++parent) {
    all.select(0, static_cast<int64_t>(parent))
        .narrow(1, 0, before)
        .copy_(earlier.select(0, static_cast<int64_t>(of_parent[parent])));
  }
  all.narrow(2, before, own.size(2)).copy_(own);
  return all;
}

// The same for a block of parents. The queries of the earlier tokens are zeros, since nobody needs
// what they see.
QueryKeyValue BehindEarlier(const EarlierTokens& earlier, const ParentBlock& block,
                            const QueryKeyValue& own) {
  const auto of_parent = std::span(earlier.of_parent).subspan(block.first_parent, block.parents);
  const at::Tensor& query = own.query;
  const at::Tensor none =
      at::zeros({query.size(0), query.size(1), earlier.tokens(), query.size(3)}, query.options());
  return {at::cat({none, query}, 2), Behind(earlier.keys, of_parent, own.key),
          Behind(earlier.values, of_parent, own.value), own.rule};
}

// Takes the nodes of a block through the layer: hidden [parents, tokens, hidden] of all blocks ->
// advanced [nodes, tokens, hidden] of all blocks.
void AdvanceBlock(const Decoder& decoder, size_t layer, const ParentBlock& block,
                  const at::Tensor& hidden, const PlanPass& pass, const at::Tensor& advanced) {
  const auto count = static_cast<int64_t>(block.nodes.size());
  const at::Tensor parents = hidden.narrow(0, static_cast<int64_t>(block.first_parent),
                                           static_cast<int64_t>(block.parents));
  const int64_t earlier = pass.earlier.tokens();
  QueryKeyValue projected = decoder.ProjectQueryKeyValue(
      layer, parents, {.first = earlier, .prompt_tokens = earlier + hidden.size(1)});
  if (pass.projected) pass.projected(block.first_parent, projected.key, projected.value);
  if (earlier > 0) projected = BehindEarlier(pass.earlier, block, projected);
  at::Tensor attention =
      AttendNodes(decoder, layer, block.nodes, block.first_node, pass, projected);
  if (pass.rounding_noise) attention = WithRoundingNoise(attention, layer);
  const at::Tensor children = advanced.narrow(0, static_cast<int64_t>(block.first_node), count);
  if (hidden.device().is_cpu()) {
    CopyParents(block.nodes, parents, children);
    for (int64_t child = 0; child < count; ++child) {
      AddByRows(decoder, layer, children.select(0, child), attention.select(0, child),
                pass.threads);
    }
  } else {
    at::Tensor rows = children.flatten(0, 1);
    const bool copies = !AreOnlyChildren(block.nodes, block.parents);
    if (copies) CopyParents(block.nodes, parents, children);
    decoder.AddAttentionAndMlp(layer, rows, attention.flatten(0, 1),
                               copies ? rows : parents.flatten(0, 1));
  }
}

// The same. A GPU without room for the whole block takes it in halves, and these in halves.
void AdvanceBlockInRoom(const Decoder& decoder, size_t layer, const ParentBlock& block,
                        const at::Tensor& hidden, const PlanPass& pass,
                        const at::Tensor& advanced) {
  try {
    return AdvanceBlock(decoder, layer, block, hidden, pass, advanced);
  } catch (const c10::OutOfMemoryError&) {
    if (block.nodes.size() == 1) throw;
  }
  ReturnUnusedMemory(hidden.device());
  for (const ParentBlock& half : HalvesOf(block))
    AdvanceBlockInRoom(decoder, layer, half, hidden, pass, advanced);
}

}  // namespace

int64_t RowsInOnePiece(const at::Device& device) {
  constexpr int64_t kCuda = 1 << 15;
  return device.is_cpu() ? 0 : kCuda;
}

at::Tensor AdvancePlans(const Decoder& decoder, size_t layer, const PlanTreeLayer& nodes,
                        const at::Tensor& hidden, const PlanPass& pass) {
  at::Tensor advanced = at::empty(
      {static_cast<int64_t>(nodes.size()), hidden.size(1), hidden.size(2)}, hidden.options());
  const std::vector<ParentBlock> blocks =
      BlocksOf(nodes, hidden.size(1), pass.piece_rows.value_or(RowsInOnePiece(hidden.device())));
  ParallelLoop(pass.threads, blocks.size(), [&](size_t i) {
    const c10::InferenceMode no_gradients;  // thread-local, so each thread needs its own
    const OperatorsOnOneThread same_sums;
    AdvanceBlockInRoom(decoder, layer, blocks[i], hidden, pass, advanced);
  });
  return advanced;
}

}  // namespace kvtune
