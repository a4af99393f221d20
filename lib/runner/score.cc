#include "lib/runner/score.h"

#include <algorithm>
#include <map>
#include <numeric>

#include "lib/runner/attention.h"
#include "lib/runner/token_loss.h"

namespace kvtune {
namespace {

// Logits to have alive at a time, for the same reasons as MaxWeightElements.
int64_t MaxLogitElements(const at::Device& device) {
  constexpr int64_t kCpu = 1 << 21;
  constexpr int64_t kCuda = 1 << 29;
  return device.is_cpu() ? kCpu : kCuda;
}


// Keys or values of a layer's parents as the cache returns them, each (parent, format) made once.
class CacheSides {
 public:
  // exact: [parents, kv_heads, tokens, head_dim]
  CacheSides(at::Tensor exact, KvSide side) : exact_(std::move(exact)), side_(side) {}

  const CacheSide& Of(size_t parent, KvFormatId format) {
    auto [entry, added] = sides_.try_emplace({parent, format});
    if (added) {
      entry->second = MakeCacheSide(exact_.narrow(0, static_cast<int64_t>(parent), 1), FormatOf(format), side_);
    }
    return entry->second;
  }

  // Parents come in order, so that what earlier ones needed can go.
  void Forget() { sides_.clear(); }

 private:
  at::Tensor exact_;
  KvSide side_;
  std::map<std::pair<size_t, KvFormatId>, CacheSide> sides_;
};

// The attention of all nodes of one layer: [nodes, tokens, query_heads * value_head_dim].
class LayerAttention {
 public:
  LayerAttention(const Decoder& decoder, size_t layer, const PlanTreeLayer& nodes, int64_t exact_queries)
      : decoder_(decoder), shape_(decoder.config().layers[layer]), nodes_(nodes), exact_queries_(exact_queries) {}

  at::Tensor Run(const QueryKeyValue& qkv) {
    const int64_t tokens = qkv.query.size(2);
    query_ = qkv.query;
    CacheSides keys(qkv.key, KvSide::kKey);
    CacheSides values(qkv.value, KvSide::kValue);
    const ModelConfig& config = decoder_.config();
    output_ = at::empty({static_cast<int64_t>(nodes_.size()), tokens, config.query_heads, shape_.value_head_dim},
                        decoder_.options());
    for (size_t child = 0; child < nodes_.size();) {
      // Children of one parent with one key format share their attention weights.
      size_t last = child + 1;
      while (last < nodes_.size() && nodes_[last].parent == nodes_[child].parent &&
             nodes_[last].pair.key == nodes_[child].pair.key) {
        ++last;
      }
      Attend(child, last, keys, values, tokens);
      if (last == nodes_.size() || nodes_[last].parent != nodes_[child].parent) {
        keys.Forget();
        values.Forget();
      }
      child = last;
    }
    return output_.flatten(2, 3);
  }

 private:
  // Children [begin, end) of one parent and one key format.
  void Attend(size_t begin, size_t end, CacheSides& keys, CacheSides& values, int64_t tokens) {
    const size_t parent = nodes_[begin].parent;
    const at::Tensor query = query_.narrow(0, static_cast<int64_t>(parent), 1);
    const CacheSide& key_side = keys.Of(parent, nodes_[begin].pair.key);
    int64_t alignment = std::max<int64_t>(1, key_side.window_tokens);
    for (size_t child = begin; child < end; ++child) {
      alignment = std::max(alignment, values.Of(parent, nodes_[child].pair.value).window_tokens);
    }
    // Queries of an exact prefill read the exact cache; the first aligned block may begin among them
    // and is overwritten there.
    const int64_t first = exact_queries_ / alignment * alignment;
    for (const QueryBlock& block : Blocks(first, tokens, alignment)) {
      const at::Tensor weights = AttentionWeights(query, key_side, block);
      for (size_t child = begin; child < end; ++child) {
        Store(child, block, AttentionOutput(weights, values.Of(parent, nodes_[child].pair.value), block));
      }
    }
    if (exact_queries_ == 0) return;
    const CacheSide& exact_keys = keys.Of(parent, KvFormatId::kExact);
    const CacheSide& exact_values = values.Of(parent, KvFormatId::kExact);
    for (const QueryBlock& block : Blocks(0, exact_queries_, 1)) {
      const at::Tensor exact = AttentionOutput(AttentionWeights(query, exact_keys, block), exact_values, block);
      for (size_t child = begin; child < end; ++child) Store(child, block, exact);
    }
  }

  std::vector<QueryBlock> Blocks(int64_t first, int64_t tokens, int64_t alignment) const {
    return QueryBlocks(first, tokens, alignment, decoder_.config().query_heads,
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
  const PlanTreeLayer& nodes_;
  int64_t exact_queries_;
  at::Tensor query_;
  at::Tensor output_;
};

}  // namespace

at::Tensor RunPlanTree(const Decoder& decoder, const PlanTree& tree, const TokenIds& prompt, int64_t exact_queries) {
  at::Tensor hidden = decoder.Embed(decoder.IdsOf(prompt)).unsqueeze(0);  // [nodes, tokens, hidden]
  for (size_t layer = 0; layer < tree.layers.size(); ++layer) {
    const PlanTreeLayer& nodes = tree.layers[layer];
    const int64_t parents = hidden.size(0);
    const at::Tensor attention =
        LayerAttention(decoder, layer, nodes, exact_queries).Run(decoder.ProjectQueryKeyValue(layer, hidden, 0));
    if (static_cast<size_t>(parents) < nodes.size()) {
      std::vector<int64_t> parent_of;
      for (const PlanTreeNode& node : nodes) parent_of.push_back(static_cast<int64_t>(node.parent));
      const at::Tensor index =
          at::from_blob(parent_of.data(), {static_cast<int64_t>(parent_of.size())}, at::kLong)
              .to(decoder.options().device());
      hidden = hidden.index_select(0, index);
    }
    at::Tensor rows = hidden.flatten(0, 1);
    decoder.AddAttentionAndMlp(layer, rows, attention.flatten(0, 1));
  }
  return hidden;
}

std::vector<PromptLosses> ScoreHidden(const Decoder& decoder, const at::Tensor& hidden, const at::Tensor& reference,
                                      const TokenIds& prompt, int64_t first_scored) {
  const auto tokens = static_cast<int64_t>(prompt.size());
  const int64_t variants = hidden.size(0);
  const at::Tensor ids = decoder.IdsOf(prompt);
  std::vector<PromptLosses> losses(static_cast<size_t>(variants));
  const int64_t rows_at_a_time =
      std::max<int64_t>(1, MaxLogitElements(decoder.options().device()) /
                               ((variants + 1) * decoder.config().vocab_size));
  for (int64_t begin = first_scored; begin < tokens - 1; begin += rows_at_a_time) {
    const int64_t rows = std::min(rows_at_a_time, tokens - 1 - begin);
    const at::Tensor reference_logits = decoder.Logits(reference.narrow(0, begin, rows));
    const at::Tensor logits = decoder.Logits(decoder.FinalNorm(hidden.narrow(1, begin, rows)));
    const TokenLosses chunk = ComputeTokenLosses(reference_logits, logits, ids.narrow(0, begin + 1, rows));
    for (int64_t i = 0; i < variants; ++i) {
      PromptLosses& total = losses[static_cast<size_t>(i)];
      const float* kl = chunk.kl.const_data_ptr<float>() + i * rows;
      const double* nll = chunk.nll.const_data_ptr<double>() + i * rows;
      const bool* same_top1 = chunk.same_top1.const_data_ptr<bool>() + i * rows;
      total.token_kl.insert(total.token_kl.end(), kl, kl + rows);
      total.nll_sum = std::accumulate(nll, nll + rows, total.nll_sum);
      total.top1_matches += std::count(same_top1, same_top1 + rows, true);
    }
  }
  return losses;
}

}  // namespace kvtune
