#include "lib/runner/score.h"

#include <algorithm>
#include <array>
#include <iterator>
#include <map>
#include <numeric>

#include "lib/base/random.h"
#include "lib/kernels/parallel_loop.h"
#include "lib/runner/attention.h"
#include "lib/runner/cuda_kernels.h"
#include "lib/runner/device_memory.h"
#include "lib/runner/flash_attention.h"
#include "lib/runner/token_loss.h"

namespace kvtune {
namespace {

// Returns how many rows of logits should exist at a time. On a CPU, where they should stay in the
// cache as in MaxWeightElements, there are still enough rows to be worth reading the head's
// weights; on a GPU there are as many as there is room for.
int64_t LogitRows(const at::Device& device, int64_t variants, int64_t vocab) {
  constexpr int64_t kCpuElements = 1 << 18, kCpuRows = 64;
  constexpr int64_t kCudaElements = 1 << 29;
  return device.is_cpu() ? std::max(kCpuRows, kCpuElements / vocab)
                         : std::max<int64_t>(1, kCudaElements / (variants * vocab));
}

// The keys or values of a layer's parents as the cache returns them. Each (parent, format) is
// computed once.
class CacheSides {
 public:
  // exact: [parents, kv_heads, tokens, head_dim]
  CacheSides(at::Tensor exact, const LayerSide& side) : exact_(std::move(exact)), side_(side) {}

  const CacheSide& Of(size_t parent, KvFormatId format) {
    auto [entry, added] = sides_.try_emplace({parent, format});
    if (added) {
      entry->second =
          MakeCacheSide(exact_.narrow(0, static_cast<int64_t>(parent), 1), FormatOf(format), side_);
    }
    return entry->second;
  }

  // Drops what earlier parents needed. Nothing asks for it again, because parents come in order.
  void Forget() { sides_.clear(); }

 private:
  at::Tensor exact_;
  LayerSide side_;
  std::map<std::pair<size_t, KvFormatId>, CacheSide> sides_;
};

// Whether node i is the only child of parent i, for all of them.
bool AreOnlyChildren(const PlanTreeLayer& nodes, int64_t parents) {
  if (std::ssize(nodes) != parents) return false;
  for (size_t i = 0; i < nodes.size(); ++i) {
    if (nodes[i].parent != i) return false;
  }
  return true;
}

// Gives each node the queries of its parent: [parents, query_heads, tokens, head_dim] -> [nodes,
// ...], without a copy where each is an only child. The heads of a token stay side by side.
at::Tensor QueriesOfNodes(const at::Tensor& queries, const PlanTreeLayer& nodes) {
  if (AreOnlyChildren(nodes, queries.size(0))) return queries;
  std::vector<at::Tensor> by_token;
  for (const PlanTreeNode& node : nodes)
    by_token.push_back(queries.select(0, static_cast<int64_t>(node.parent)).transpose(0, 1));
  return at::stack(by_token).transpose(1, 2);
}

// Computes the attention of all nodes of one layer: [nodes, tokens, query_heads * value_head_dim].
class LayerAttention {
 public:
  // `first_node` is the place of nodes[0] among all nodes of the layer.
  LayerAttention(const Decoder& decoder, size_t layer, const PlanTreeLayer& nodes,
                 size_t first_node, const PlanPass& pass)
      : decoder_(decoder),
        shape_(decoder.config().layers[layer]),
        layer_(layer),
        nodes_(nodes),
        first_node_(first_node),
        pass_(pass) {}

  // The queries of pass.earlier have no results: [nodes, tokens behind them, ...].
  at::Tensor Run(const QueryKeyValue& qkv) {
    const int64_t tokens = qkv.query.size(2), earlier = pass_.earlier.tokens();
    query_ = qkv.query;
    rule_ = qkv.rule;
    if (CanAttendTogether(qkv))
      return AttendTogether(qkv).narrow(1, earlier, tokens - earlier).flatten(2, 3);
    CacheSides keys(qkv.key, decoder_.SideOfLayer(layer_, KvSide::kKey));
    CacheSides values(qkv.value, decoder_.SideOfLayer(layer_, KvSide::kValue));
    const ModelConfig& config = decoder_.config();
    output_ = at::empty(
        {static_cast<int64_t>(nodes_.size()), tokens, config.query_heads, shape_.value_head_dim},
        query_.options());
    for (size_t child = 0; child < nodes_.size();) {
      size_t last = child + 1;
      while (last < nodes_.size() && ShareWeights(nodes_[child], nodes_[last])) ++last;
      Attend(child, last, keys, values, tokens);
      if (last == nodes_.size() || nodes_[last].parent != nodes_[child].parent ||
          pass_.sharing < Sharing::kAttention) {
        keys.Forget();
        values.Forget();
      }
      child = last;
    }
    return output_.narrow(1, earlier, tokens - earlier).flatten(2, 3);
  }

 private:
  // Whether one call of flash attention can take all nodes: where no format has a residual window.
  bool CanAttendTogether(const QueryKeyValue& qkv) const {
    return pass_.exact_queries == 0 && pass_.sharing >= Sharing::kAttention &&
           CanFlash(qkv.query, ExactCacheSide(qkv.key), ExactCacheSide(qkv.value), qkv.rule) &&
           std::ranges::all_of(
               nodes_, [](const PlanTreeNode& node) { return AlignmentOf(node.pair) == 1; });
  }

  // Returns the attention of all nodes: [nodes, tokens, query_heads, value_head_dim].
  at::Tensor AttendTogether(const QueryKeyValue& qkv) const {
    const at::Tensor keys = StoredByNodes(qkv.key, KvSide::kKey);
    const at::Tensor values = StoredByNodes(qkv.value, KvSide::kValue);
    for (size_t child = 0; pass_.stored && child < nodes_.size(); ++child) {
      const auto place = static_cast<int64_t>(child);
      pass_.stored(first_node_ + child, keys.narrow(0, place, 1), values.narrow(0, place, 1));
    }
    return AttendWithoutWeights(QueriesOfNodes(qkv.query, nodes_), ExactCacheSide(keys),
                                ExactCacheSide(values));
  }

  // REQUIRES: CanFlash.
  at::Tensor AttendWithoutWeights(const at::Tensor& query, const CacheSide& keys,
                                  const CacheSide& values) const {
    // Where something is stored, a prompt is run once for an answer, not for many plans.
    return !pass_.stored && CanUseCudnn(query, keys, values, rule_)
               ? CudnnAttention(query, keys, values).output
               : FlashAttention(query, keys, values, rule_);
  }

  // What the nodes store of their parents' keys or values: [nodes, kv_heads, tokens, head_dim].
  at::Tensor StoredByNodes(const at::Tensor& exact, KvSide side) const {
    const LayerSide described = decoder_.SideOfLayer(layer_, side);
    const at::Tensor stored = at::empty(
        {std::ssize(nodes_), exact.size(1), exact.size(2), exact.size(3)}, exact.options());
    for (size_t child = 0; child < nodes_.size(); ++child) {
      const auto [parent, pair] = nodes_[child];
      FakeQuantizeInto(exact.narrow(0, static_cast<int64_t>(parent), 1),
                       FormatOf(side == KvSide::kKey ? pair.key : pair.value), described,
                       stored.narrow(0, static_cast<int64_t>(child), 1));
    }
    return stored;
  }

  // Children of one parent that have the same key format share its attention weights, provided that
  // they are computed in the same blocks.
  bool ShareWeights(const PlanTreeNode& a, const PlanTreeNode& b) const {
    return pass_.sharing >= Sharing::kAttention && a.parent == b.parent &&
           a.pair.key == b.pair.key && AlignmentOf(a.pair) == AlignmentOf(b.pair);
  }

  static int64_t AlignmentOf(PrecisionPair pair) {
    return std::max({1, FormatOf(pair.key).residual_window_tokens,
                     FormatOf(pair.value).residual_window_tokens});
  }

  // Computes the attention of the children [begin, end), which have the same parent, key format and
  // alignment.
  void Attend(size_t begin, size_t end, CacheSides& keys, CacheSides& values, int64_t tokens) {
    const size_t parent = nodes_[begin].parent;
    const at::Tensor query = query_.narrow(0, static_cast<int64_t>(parent), 1);
    const CacheSide& key_side = keys.Of(parent, nodes_[begin].pair.key);
    const int64_t alignment = AlignmentOf(nodes_[begin].pair);
    // The queries of an exact prefill read the exact cache. The first aligned block may begin among
    // these queries; their part of it is overwritten below.
    const int64_t first =
        std::max(pass_.exact_queries, pass_.earlier.tokens()) / alignment * alignment;
    struct BlockwiseChild {
      size_t child;
      const CacheSide* values;
    };
    std::vector<BlockwiseChild> blockwise;
    for (size_t child = begin; child < end; ++child) {
      const CacheSide& value_side = values.Of(parent, nodes_[child].pair.value);
      if (pass_.stored) pass_.stored(first_node_ + child, key_side.stored, value_side.stored);
      if (CanFlash(query, key_side, value_side, rule_)) {
        output_.select(0, static_cast<int64_t>(child))
            .copy_(AttendWithoutWeights(query, key_side, value_side).squeeze(0));
      } else {
        blockwise.push_back({child, &value_side});
      }
    }
    if (!blockwise.empty()) {
      ForEachBlock(Blocks(first, tokens, alignment), [&](const QueryBlock& block) {
        const at::Tensor weights = AttentionWeights(query, key_side, block, rule_);
        for (const auto& [child, value_side] : blockwise) {
          Store(child, block, AttentionOutput(weights, *value_side, block));
        }
      });
    }
    if (pass_.exact_queries == 0) return;
    const CacheSide& exact_keys = keys.Of(parent, KvFormatId::kExact);
    const CacheSide& exact_values = values.Of(parent, KvFormatId::kExact);
    ForEachBlock(Blocks(0, pass_.exact_queries, 1), [&](const QueryBlock& block) {
      const at::Tensor exact =
          AttentionOutput(AttentionWeights(query, exact_keys, block, rule_), exact_values, block);
      for (size_t child = begin; child < end; ++child) Store(child, block, exact);
    });
  }

  template <typename Work>
  void ForEachBlock(const std::vector<QueryBlock>& blocks, const Work& work) const {
    ParallelLoop(pass_.threads, blocks.size(), [&](size_t i) {
      const c10::InferenceMode no_gradients;  // thread-local, so each thread needs its own
      work(blocks[i]);
    });
  }

  std::vector<QueryBlock> Blocks(int64_t first, int64_t tokens, int64_t alignment) const {
    return QueryBlocks(first, tokens, alignment, rule_.window_tokens, decoder_.config().query_heads,
                       MaxWeightElements(decoder_.options().device()));
  }

  // attended: [1, query_heads, block, head_dim]
  void Store(size_t child, const QueryBlock& block, const at::Tensor& attended) {
    output_.select(0, static_cast<int64_t>(child))
        .narrow(0, block.begin, block.end - block.begin)
        .copy_(attended.squeeze(0).transpose(0, 1));
  }

  const Decoder& decoder_;
  const LayerConfig& shape_;
  size_t layer_;
  const PlanTreeLayer& nodes_;
  size_t first_node_;
  const PlanPass& pass_;
  at::Tensor query_;
  ScoreRule rule_;
  at::Tensor output_;
};

// Neighbouring parents with all their children, which go through a layer in one piece.
struct ParentBlock {
  size_t first_parent = 0, parents = 0;
  size_t first_node = 0;
  PlanTreeLayer nodes;  // their parent indices count from first_parent
};

// On a CPU one parent fills the matrix products by itself, and more would crowd it out of the
// caches. A GPU needs more rows to be busy.
std::vector<ParentBlock> BlocksOf(const PlanTreeLayer& nodes, int64_t tokens,
                                  const at::Device& device) {
  constexpr int64_t kCudaRows = 1 << 15;
  const auto most_nodes =
      static_cast<size_t>(device.is_cpu() ? 1 : std::max<int64_t>(1, kCudaRows / tokens));
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
      LayerAttention(decoder, layer, block.nodes, block.first_node, pass).Run(projected);
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
    const bool copies = !AreOnlyChildren(block.nodes, parents.size(0));
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

at::Tensor AdvancePlans(const Decoder& decoder, size_t layer, const PlanTreeLayer& nodes,
                        const at::Tensor& hidden, const PlanPass& pass) {
  at::Tensor advanced = at::empty(
      {static_cast<int64_t>(nodes.size()), hidden.size(1), hidden.size(2)}, hidden.options());
  const std::vector<ParentBlock> blocks = BlocksOf(nodes, hidden.size(1), hidden.device());
  ParallelLoop(pass.threads, blocks.size(), [&](size_t i) {
    const c10::InferenceMode no_gradients;  // thread-local, so each thread needs its own
    const OperatorsOnOneThread same_sums;
    AdvanceBlockInRoom(decoder, layer, blocks[i], hidden, pass, advanced);
  });
  return advanced;
}

namespace {

void AddLosses(const TokenLosses& chunk, std::span<PromptScore> totals) {
  const int64_t rows = chunk.kl.size(1);
  for (size_t i = 0; i < totals.size(); ++i) {
    PromptScore& total = totals[i];
    const float* kl = chunk.kl.const_data_ptr<float>() + static_cast<int64_t>(i) * rows;
    const double* nll = chunk.nll.const_data_ptr<double>() + static_cast<int64_t>(i) * rows;
    const bool* same_top1 = chunk.same_top1.const_data_ptr<bool>() + static_cast<int64_t>(i) * rows;
    total.token_kl.insert(total.token_kl.end(), kl, kl + rows);
    total.nll_sum = std::accumulate(nll, nll + rows, total.nll_sum);
    std::transform(nll, nll + rows, std::back_inserter(total.token_nll),
                   [](double nats) { return static_cast<float>(nats); });
    const float* variation =
        chunk.variation.const_data_ptr<float>() + static_cast<int64_t>(i) * rows;
    total.total_variation_sum =
        std::accumulate(variation, variation + rows, total.total_variation_sum.value_or(0.0));
    total.top1_matches += std::count(same_top1, same_top1 + rows, true);
  }
}

}  // namespace

std::vector<PromptScore> ScoreHidden(const Decoder& decoder, const at::Tensor& hidden,
                                     const at::Tensor& reference, const TokenIds& prompt,
                                     const PlanPass& pass) {
  const auto tokens = static_cast<int64_t>(prompt.size());
  const at::Device device = decoder.options().device();
  const auto variants = static_cast<size_t>(hidden.size(0));
  // On a CPU one variant is scored at a time, so that its numbers do not depend on the others; on a
  // GPU all variants are scored together to keep it busy.
  const size_t variants_at_a_time = device.is_cpu() ? 1 : variants;
  const at::Tensor ids = decoder.IdsOf(prompt);
  std::vector<PromptScore> scores(variants);
  const auto add_rows = [&](int64_t begin, int64_t rows) {
    const at::Tensor next_tokens = ids.narrow(0, begin + 1, rows);
    const auto reference_logits = [&] {
      const OperatorsOnOneThread same_sums;
      return ReferenceLogits(decoder.Logits(reference.narrow(0, begin, rows)));
    };
    const ReferenceLogits shared = reference_logits();
    ParallelLoop(
        pass.threads, (variants + variants_at_a_time - 1) / variants_at_a_time, [&](size_t i) {
          const c10::InferenceMode no_gradients;
          const OperatorsOnOneThread same_sums;
          const size_t first = i * variants_at_a_time;
          const size_t count = std::min(variants_at_a_time, variants - first);
          const at::Tensor some =
              hidden.narrow(0, static_cast<int64_t>(first), static_cast<int64_t>(count))
                  .narrow(1, begin, rows);
          const at::Tensor logits = decoder.Logits(decoder.FinalNorm(some));
          const bool own = pass.sharing == Sharing::kNothing && first > 0;
          AddLosses(ComputeTokenLosses(own ? reference_logits() : shared, logits, next_tokens),
                    std::span(scores).subspan(first, count));
        });
  };
  int64_t rows_at_a_time =
      LogitRows(device, static_cast<int64_t>(variants_at_a_time), decoder.config().vocab_size);
  for (int64_t begin = pass.exact_queries; begin < tokens - 1;) {
    const int64_t rows = std::min(rows_at_a_time, tokens - 1 - begin);
    try {
      add_rows(begin, rows);
      begin += rows;
      continue;
    } catch (const c10::OutOfMemoryError&) {
      // On a GPU the variants are added all at once, after the last allocation, so nothing was.
      if (rows == 1 || device.is_cpu()) throw;
    }
    ReturnUnusedMemory(device);
    rows_at_a_time = rows / 2;
  }
  for (PromptScore& score : scores) {
    score.first_position = pass.exact_queries;
    score.tokens = static_cast<int64_t>(score.token_kl.size());
    for (const float kl : score.token_kl) score.kl_sum += static_cast<double>(kl);
  }
  return scores;
}

}  // namespace kvtune
