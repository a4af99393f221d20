#include "lib/runner/plan_attention.h"

#include <algorithm>
#include <map>
#include <tuple>
#include <utility>
#include <vector>

#include "lib/kernels/parallel_loop.h"
#include "lib/runner/flash_attention.h"

namespace kvtune {
namespace {

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

// Gives each node the queries of its parent: [parents, query_heads, tokens, head_dim] -> [nodes,
// ...], without a copy where each is an only child. The heads of a token stay side by side.
at::Tensor QueriesOfNodes(const at::Tensor& queries, const PlanTreeLayer& nodes) {
  if (AreOnlyChildren(nodes, static_cast<size_t>(queries.size(0)))) return queries;
  std::vector<at::Tensor> by_token;
  for (const PlanTreeNode& node : nodes)
    by_token.push_back(queries.select(0, static_cast<int64_t>(node.parent)).transpose(0, 1));
  return at::stack(by_token).transpose(1, 2);
}

class LayerAttention {
 public:
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

}  // namespace

at::Tensor AttendNodes(const Decoder& decoder, size_t layer, const PlanTreeLayer& nodes,
                       size_t first_node, const PlanPass& pass, const QueryKeyValue& qkv) {
  return LayerAttention(decoder, layer, nodes, first_node, pass).Run(qkv);
}

}  // namespace kvtune
