#include "lib/runner/score.h"

#include <algorithm>
#include <array>
#include <iterator>
#include <map>
#include <numeric>
#include <tuple>

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

// Neighbouring nodes of a layer that attend together: children of one parent with one key format,
// or the only children of neighbouring parents with one pair.
struct TogetherNodes {
  size_t begin = 0, end = 0;
  size_t first_parent = 0, parents = 1;

  // How many children a parent has.
  size_t children() const { return (end - begin) / parents; }
};

// The keys or values of a layer's parents as the cache returns them. Each (parents, format) is
// computed once.
class CacheSides {
 public:
  // exact: [parents, kv_heads, tokens, head_dim]
  CacheSides(at::Tensor exact, const LayerSide& side) : exact_(std::move(exact)), side_(side) {}

  const CacheSide& Of(const TogetherNodes& nodes, KvFormatId format) {
    auto [entry, added] = sides_.try_emplace({nodes.first_parent, nodes.parents, format});
    if (added) {
      entry->second = MakeCacheSide(exact_.narrow(0, static_cast<int64_t>(nodes.first_parent),
                                                  static_cast<int64_t>(nodes.parents)),
                                    FormatOf(format), side_);
    }
    return entry->second;
  }

  // Drops what earlier parents needed. Nothing asks for it again, because parents come in order.
  void Forget() { sides_.clear(); }

 private:
  at::Tensor exact_;
  LayerSide side_;
  std::map<std::tuple<size_t, size_t, KvFormatId>, CacheSide> sides_;
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
      const TogetherNodes together = TogetherFrom(child);
      Attend(together, keys, values, tokens);
      const size_t next = together.end;
      if (next == nodes_.size() || nodes_[next].parent != nodes_[child].parent ||
          pass_.sharing < Sharing::kAttention) {
        keys.Forget();
        values.Forget();
      }
      child = next;
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
    const auto format_of = [&](size_t child) {
      const PrecisionPair pair = nodes_[child].pair;
      return side == KvSide::kKey ? pair.key : pair.value;
    };
    for (size_t begin = 0, end = 0; begin < nodes_.size(); begin = end) {
      // Neighbours are quantized by one launch, as those of several prompts under one plan are.
      for (end = begin + 1; end < nodes_.size() && format_of(end) == format_of(begin) &&
                            nodes_[end].parent == nodes_[end - 1].parent + 1;) {
        ++end;
      }
      const auto count = static_cast<int64_t>(end - begin);
      FakeQuantizeInto(exact.narrow(0, static_cast<int64_t>(nodes_[begin].parent), count),
                       FormatOf(format_of(begin)), described,
                       stored.narrow(0, static_cast<int64_t>(begin), count));
    }
    return stored;
  }

  // Whether the parent of a node has no other child here.
  bool IsOnlyChild(size_t child) const {
    const size_t parent = nodes_[child].parent;
    return (child == 0 || nodes_[child - 1].parent != parent) &&
           (child + 1 == nodes_.size() || nodes_[child + 1].parent != parent);
  }

  // Returns the nodes from `child` on that attend together.
  TogetherNodes TogetherFrom(size_t child) const {
    TogetherNodes nodes{
        .begin = child, .end = child + 1, .first_parent = nodes_[child].parent, .parents = 1};
    while (nodes.end < nodes_.size() && ShareWeights(nodes_[child], nodes_[nodes.end])) ++nodes.end;
    if (pass_.sharing < Sharing::kAttention || !IsOnlyChild(child)) return nodes;
    while (nodes.end < nodes_.size() && IsOnlyChild(nodes.end) &&
           nodes_[nodes.end].pair == nodes_[child].pair &&
           nodes_[nodes.end].parent == nodes.first_parent + nodes.parents) {
      ++nodes.end;
      ++nodes.parents;
    }
    return nodes;
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

  // The nodes have the same key format and alignment.
  void Attend(const TogetherNodes& nodes, CacheSides& keys, CacheSides& values, int64_t tokens) {
    const auto parents = static_cast<int64_t>(nodes.parents);
    const at::Tensor query = query_.narrow(0, static_cast<int64_t>(nodes.first_parent), parents);
    const CacheSide& key_side = keys.Of(nodes, nodes_[nodes.begin].pair.key);
    const int64_t alignment = AlignmentOf(nodes_[nodes.begin].pair);
    // The queries of an exact prefill read the exact cache. The first aligned block may begin among
    // these queries; their part of it is overwritten below.
    const int64_t first =
        std::max(pass_.exact_queries, pass_.earlier.tokens()) / alignment * alignment;
    // A child of every parent, the first of them at `begin`.
    struct Child {
      size_t begin;
      const CacheSide* values;
    };
    std::vector<Child> children, blockwise;
    for (size_t i = 0; i < nodes.children(); ++i) {
      const size_t begin = nodes.begin + i;
      children.push_back({begin, &values.Of(nodes, nodes_[begin].pair.value)});
    }
    for (const Child& child : children) {
      const CacheSide& value_side = *child.values;
      for (int64_t parent = 0; pass_.stored && parent < parents; ++parent) {
        pass_.stored(first_node_ + child.begin + static_cast<size_t>(parent),
                     key_side.stored.narrow(0, parent, 1), value_side.stored.narrow(0, parent, 1));
      }
      if (CanFlash(query, key_side, value_side, rule_)) {
        output_.narrow(0, static_cast<int64_t>(child.begin), parents)
            .copy_(AttendWithoutWeights(query, key_side, value_side));
      } else {
        blockwise.push_back(child);
      }
    }
    if (!blockwise.empty()) {
      ForEachBlock(Blocks(first, tokens, alignment, parents), [&](const QueryBlock& block) {
        const at::Tensor weights = AttentionWeights(query, key_side, block, rule_);
        for (const Child& child : blockwise)
          Store(child.begin, block, AttentionOutput(weights, *child.values, block));
      });
    }
    if (pass_.exact_queries == 0) return;
    const CacheSide& exact_keys = keys.Of(nodes, KvFormatId::kExact);
    const CacheSide& exact_values = values.Of(nodes, KvFormatId::kExact);
    ForEachBlock(Blocks(0, pass_.exact_queries, 1, parents), [&](const QueryBlock& block) {
      const at::Tensor exact =
          AttentionOutput(AttentionWeights(query, exact_keys, block, rule_), exact_values, block);
      for (const Child& child : children) Store(child.begin, block, exact);
    });
  }

  template <typename Work>
  void ForEachBlock(const std::vector<QueryBlock>& blocks, const Work& work) const {
    ParallelLoop(pass_.threads, blocks.size(), [&](size_t i) {
      const c10::InferenceMode no_gradients;  // thread-local, so each thread needs its own
      work(blocks[i]);
    });
  }

  std::vector<QueryBlock> Blocks(int64_t first, int64_t tokens, int64_t alignment,
                                 int64_t parents) const {
    return QueryBlocks(first, tokens, alignment, rule_.window_tokens,
                       parents * decoder_.config().query_heads,
                       MaxWeightElements(decoder_.options().device()));
  }

  // attended: [parents, query_heads, block, head_dim], of neighbouring nodes from `first` on
  void Store(size_t first, const QueryBlock& block, const at::Tensor& attended) {
    output_.narrow(0, static_cast<int64_t>(first), attended.size(0))
        .narrow(1, block.begin, block.end - block.begin)
        .copy_(attended.transpose(1, 2));
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

namespace {

// Adds the losses of the rows [begin, end) of a chunk under variant `i` of it.
void AddLosses(const TokenLosses& chunk, int64_t i, int64_t begin, int64_t end,
               PromptScore& total) {
  const int64_t row = i * chunk.kl.size(1) + begin, rows = end - begin;
  const float* kl = chunk.kl.const_data_ptr<float>() + row;
  const double* nll = chunk.nll.const_data_ptr<double>() + row;
  const bool* same_top1 = chunk.same_top1.const_data_ptr<bool>() + row;
  total.token_kl.insert(total.token_kl.end(), kl, kl + rows);
  total.nll_sum = std::accumulate(nll, nll + rows, total.nll_sum);
  std::transform(nll, nll + rows, std::back_inserter(total.token_nll),
                 [](double nats) { return static_cast<float>(nats); });
  const float* variation = chunk.variation.const_data_ptr<float>() + row;
  total.total_variation_sum =
      std::accumulate(variation, variation + rows, total.total_variation_sum.value_or(0.0));
  total.top1_matches += std::count(same_top1, same_top1 + rows, true);
}

// The scored rows of several prompts, one prompt behind another.
struct ScoredRows {
  at::Tensor hidden;          // [variants, rows, hidden]
  at::Tensor reference;       // [rows, hidden]
  at::Tensor next_tokens;     // [rows]
  std::vector<int64_t> ends;  // by prompt: how many rows there are up to its last one
};

ScoredRows RowsOf(const Decoder& decoder, std::span<const ScoredPrompt> prompts) {
  std::vector<at::Tensor> hidden, reference;
  std::vector<int32_t> next_tokens;
  ScoredRows rows;
  for (const ScoredPrompt& prompt : prompts) {
    const int64_t first = prompt.first_position;
    const int64_t count = std::max<int64_t>(0, std::ssize(prompt.ids) - 1 - first);
    hidden.push_back(prompt.hidden.narrow(1, first, count));
    reference.push_back(prompt.reference.narrow(0, first, count));
    const auto next = prompt.ids.last(static_cast<size_t>(count));
    next_tokens.insert(next_tokens.end(), next.begin(), next.end());
    rows.ends.push_back(std::ssize(next_tokens));
  }
  const bool is_one = prompts.size() == 1;
  rows.hidden = is_one ? hidden.front() : at::cat(hidden, 1);
  rows.reference = is_one ? reference.front() : at::cat(reference, 0);
  rows.next_tokens = decoder.IdsOf(next_tokens);
  return rows;
}

}  // namespace

std::vector<std::vector<PromptScore>> ScoreHidden(const Decoder& decoder,
                                                  std::span<const ScoredPrompt> prompts,
                                                  Sharing sharing, int threads) {
  const at::Device device = decoder.options().device();
  const ScoredRows all = RowsOf(decoder, prompts);
  const auto variants = static_cast<size_t>(all.hidden.size(0));
  // On a CPU one variant is scored at a time, so that its numbers do not depend on the others; on a
  // GPU all variants are scored together to keep it busy.
  const size_t variants_at_a_time = device.is_cpu() ? 1 : variants;
  std::vector<std::vector<PromptScore>> scores(prompts.size(), std::vector<PromptScore>(variants));
  // Gives the losses of the rows from `begin` on to the prompts whose rows they are.
  const auto add_losses = [&](const TokenLosses& chunk, size_t first_variant, int64_t begin) {
    const int64_t end = begin + chunk.kl.size(1);
    for (size_t p = 0; p < prompts.size(); ++p) {
      const int64_t from = std::max(begin, p == 0 ? 0 : all.ends[p - 1]);
      const int64_t to = std::min(end, all.ends[p]);
      for (int64_t i = 0; from < to && i < chunk.kl.size(0); ++i) {
        AddLosses(chunk, i, from - begin, to - begin,
                  scores[p][first_variant + static_cast<size_t>(i)]);
      }
    }
  };
  const auto add_rows = [&](int64_t begin, int64_t rows) {
    const at::Tensor next_tokens = all.next_tokens.narrow(0, begin, rows);
    const auto reference_logits = [&] {
      const OperatorsOnOneThread same_sums;
      return ReferenceLogits(decoder.Logits(all.reference.narrow(0, begin, rows)));
    };
    const ReferenceLogits shared = reference_logits();
    ParallelLoop(threads, (variants + variants_at_a_time - 1) / variants_at_a_time, [&](size_t i) {
      const c10::InferenceMode no_gradients;
      const OperatorsOnOneThread same_sums;
      const size_t first = i * variants_at_a_time;
      const size_t count = std::min(variants_at_a_time, variants - first);
      const at::Tensor some =
          all.hidden.narrow(0, static_cast<int64_t>(first), static_cast<int64_t>(count))
              .narrow(1, begin, rows);
      const at::Tensor logits = decoder.Logits(decoder.FinalNorm(some));
      const bool own = sharing == Sharing::kNothing && first > 0;
      add_losses(ComputeTokenLosses(own ? reference_logits() : shared, logits, next_tokens), first,
                 begin);
    });
  };
  const int64_t row_count = all.reference.size(0);
  int64_t rows_at_a_time =
      LogitRows(device, static_cast<int64_t>(variants_at_a_time), decoder.config().vocab_size);
  for (int64_t begin = 0; begin < row_count;) {
    const int64_t rows = std::min(rows_at_a_time, row_count - begin);
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
  for (size_t p = 0; p < prompts.size(); ++p) {
    for (PromptScore& score : scores[p]) {
      score.first_position = prompts[p].first_position;
      score.tokens = static_cast<int64_t>(score.token_kl.size());
      for (const float kl : score.token_kl) score.kl_sum += static_cast<double>(kl);
    }
  }
  return scores;
}

}  // namespace kvtune
