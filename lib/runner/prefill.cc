#include "lib/runner/prefill.h"

#include <map>
#include <utility>

#include "lib/runner/fake_quantize.h"
#include "lib/runner/plan_pass.h"
#include "lib/runner/plan_tree.h"

namespace kvtune {
namespace {

// hidden: [variants, tokens, hidden] -> [variants, hidden]
at::Tensor LastToken(const at::Tensor& hidden) {
  return hidden.select(1, hidden.size(1) - 1).contiguous();
}

// Which plans go through each node of a tree: [layer][node] -> indices of plans.
std::vector<std::vector<std::vector<size_t>>> PlansByNode(const PlanTree& tree) {
  std::vector<std::vector<std::vector<size_t>>> plans(tree.layers.size());
  for (size_t layer = 0; layer < tree.layers.size(); ++layer)
    plans[layer].resize(tree.layers[layer].size());
  for (size_t plan = 0; plan < tree.leaf_of_plan.size(); ++plan) {
    size_t node = tree.leaf_of_plan[plan];
    for (size_t layer = tree.layers.size(); layer-- > 0;) {
      plans[layer][node].push_back(plan);
      node = tree.layers[layer][node].parent;
    }
  }
  return plans;
}

// Which rows go through each parent of a layer's nodes.
std::vector<std::vector<int64_t>> RowsByParent(
    const PlanTreeLayer& nodes, const std::vector<std::vector<size_t>>& plans_of_node,
    std::span<const PlacedPlan> placed) {
  std::vector<std::vector<int64_t>> rows(nodes.back().parent + 1);
  for (size_t node = 0; node < nodes.size(); ++node) {
    for (const size_t plan : plans_of_node[node])
      rows[nodes[node].parent].push_back(placed[plan].row);
  }
  return rows;
}

// One side of a prompt for one parent, [kv_heads, tokens, head_dim]: what the beginning has of it
// and then its own tokens.
at::Tensor WholeSide(const at::Tensor& earlier, const EarlierTokens& beginning, size_t parent,
                     const at::Tensor& own) {
  if (beginning.tokens() == 0) return own;
  const auto variant = static_cast<int64_t>(beginning.of_parent[parent]);
  return at::cat({earlier.select(0, variant), own}, 1);
}

// The variants of a beginning that belong to a layer's parents, of which each has a place among the
// nodes of the layer below in the tree of all plans.
using Lookup = std::map<std::pair<size_t, PrecisionPair>, size_t>;

Lookup PlacesOf(const PlanTreeLayer& nodes) {
  Lookup places;
  for (size_t i = 0; i < nodes.size(); ++i) places[{nodes[i].parent, nodes[i].pair}] = i;
  return places;
}

// Which rows store one side of a layer in which format.
std::map<KvFormatId, std::vector<int64_t>> RowsByFormat(std::span<const PlacedPlan> plans,
                                                        size_t layer, KvSide side) {
  std::map<KvFormatId, std::vector<int64_t>> rows;
  for (const PlacedPlan& placed : plans) {
    const PrecisionPair pair = placed.plan.layers[layer];
    rows[side == KvSide::kKey ? pair.key : pair.value].push_back(placed.row);
  }
  return rows;
}

}  // namespace

SharedBeginning::SharedBeginning(Decoder& decoder, const TokenIds& tokens,
                                 std::span<const PrecisionPlan> plans)
    : tree_(BuildPlanTree(plans)), layers_(decoder.config().layers.size()) {
  LayerStream stream(decoder);
  at::Tensor hidden = decoder.Embed(decoder.IdsOf(tokens)).unsqueeze(0);
  for (size_t layer = 0; layer < layers_.size(); ++layer) {
    stream.Enter(layer);
    hidden = decoder.BroughtTo(layer, std::move(hidden));
    const LayerConfig& shape = decoder.config().layers[layer];
    EarlierTokens& kept = layers_[layer];
    const auto side = [&](int64_t head_dim) {
      return at::empty({hidden.size(0), shape.kv_heads, std::ssize(tokens), head_dim},
                       hidden.options());
    };
    kept.keys = side(shape.key_head_dim);
    kept.values = side(shape.value_head_dim);
    const PlanPass pass{
        .projected = [&](size_t first, const at::Tensor& keys, const at::Tensor& values) {
          const auto begin = static_cast<int64_t>(first);
          kept.keys.narrow(0, begin, keys.size(0)).copy_(keys);
          kept.values.narrow(0, begin, values.size(0)).copy_(values);
        }};
    hidden = AdvancePlans(decoder, layer, tree_.layers[layer], hidden, pass);
  }
}

int64_t SharedBeginning::Bytes(const ModelConfig& config, int64_t tokens,
                               std::span<const PrecisionPlan> plans,
                               const at::TensorOptions& options) {
  const PlanTree tree = BuildPlanTree(plans);
  int64_t elements = 0;
  for (size_t layer = 0; layer < config.layers.size(); ++layer) {
    const auto variants =
        layer == 0 ? int64_t{1} : static_cast<int64_t>(tree.layers[layer - 1].size());
    const LayerConfig& shape = config.layers[layer];
    elements += variants * (shape.kv_width(KvSide::kKey) + shape.kv_width(KvSide::kValue));
  }
  return elements * tokens * static_cast<int64_t>(options.dtype().itemsize());
}

std::vector<EarlierTokens> SharedBeginning::For(const PlanTree& tree) const {
  std::vector<EarlierTokens> earlier(tree.layers.size());
  if (tokens() == 0) return earlier;
  std::vector<size_t> variants = {0};  // of the layer's parents
  for (size_t layer = 0; layer < tree.layers.size(); ++layer) {
    earlier[layer] = {layers_[layer].keys, layers_[layer].values, variants};
    const Lookup places = PlacesOf(tree_.layers[layer]);
    std::vector<size_t> children;
    for (const PlanTreeNode& node : tree.layers[layer])
      children.push_back(places.at({variants[node.parent], node.pair}));
    variants = std::move(children);
  }
  return earlier;
}

at::Tensor Prefill::Embedded(const TokenIds& prompt) const {
  const TokenIds own(prompt.begin() + beginning_.tokens(), prompt.end());
  return decoder_.Embed(decoder_.IdsOf(own)).unsqueeze(0);
}

at::Tensor Prefill::Fill(const TokenIds& prompt, std::span<const PlacedPlan> plans,
                         KvCache& cache) {
  for (const PlacedPlan& placed : plans)
    cache.Begin(placed.row, placed.plan, static_cast<int64_t>(prompt.size()));
  return mode_ == PrefillMode::kExact ? FillExact(prompt, plans, cache)
                                      : FillQuantized(prompt, plans, cache);
}

at::Tensor Prefill::FillQuantized(const TokenIds& prompt, std::span<const PlacedPlan> placed,
                                  KvCache& cache) {
  std::vector<PrecisionPlan> plans;
  for (const PlacedPlan& each : placed) plans.push_back(each.plan);
  const PlanTree tree = BuildPlanTree(plans);
  const auto plans_by_node = PlansByNode(tree);
  const std::vector<EarlierTokens> earlier = beginning_.For(tree);
  at::Tensor hidden = Embedded(prompt);
  for (size_t layer = 0; layer < tree.layers.size(); ++layer) {
    stream_.Enter(layer);
    const EarlierTokens& before = earlier[layer];
    const auto rows_by_parent = RowsByParent(tree.layers[layer], plans_by_node[layer], placed);
    PlanPass pass{.earlier = before};
    if (cache.is_packed(layer)) {
      pass.projected = [&](size_t first, const at::Tensor& keys, const at::Tensor& values) {
        for (int64_t i = 0; i < keys.size(0); ++i) {
          const size_t parent = first + static_cast<size_t>(i);
          cache.Pack(rows_by_parent[parent], layer, WholeSide(before.keys, before, parent, keys[i]),
                     WholeSide(before.values, before, parent, values[i]));
        }
      };
    } else {
      pass.stored = [&](size_t node, const at::Tensor& keys, const at::Tensor& values) {
        std::vector<int64_t> rows;
        for (const size_t plan : plans_by_node[layer][node]) rows.push_back(placed[plan].row);
        cache.Store(rows, layer, KvSide::kKey, keys.squeeze(0));
        cache.Store(rows, layer, KvSide::kValue, values.squeeze(0));
      };
    }
    hidden = AdvancePlans(decoder_, layer, tree.layers[layer],
                          decoder_.BroughtTo(layer, std::move(hidden)), pass);
  }
  stream_.Leave();
  hidden = decoder_.BroughtHome(std::move(hidden));
  std::vector<int64_t> leaves(tree.leaf_of_plan.begin(), tree.leaf_of_plan.end());
  const at::Tensor leaf =
      at::from_blob(leaves.data(), {static_cast<int64_t>(leaves.size())}, at::kLong)
          .to(hidden.device());
  return LastToken(hidden).index_select(0, leaf);
}

void Prefill::Learn(const TokenIds& prompt) {
  prompt_.clear();
  exact_.assign(decoder_.config().layers.size(), {});
  const std::vector<PrecisionPlan> plan = {PrecisionPlan::Uniform(kExactPair, exact_.size())};
  const PlanTree tree = BuildPlanTree(plan);
  std::vector<EarlierTokens> earlier = beginning_.For(tree);
  at::Tensor hidden = Embedded(prompt);
  for (size_t layer = 0; layer < exact_.size(); ++layer) {
    stream_.Enter(layer);
    const PlanPass pass{.stored =
                            [&](size_t, const at::Tensor& keys, const at::Tensor& values) {
                              exact_[layer] = {keys.squeeze(0), values.squeeze(0)};
                            },
                        .earlier = std::move(earlier[layer])};
    hidden = AdvancePlans(decoder_, layer, tree.layers[layer],
                          decoder_.BroughtTo(layer, std::move(hidden)), pass);
  }
  stream_.Leave();
  hidden = decoder_.BroughtHome(std::move(hidden));
  last_hidden_ = LastToken(hidden);
  prompt_ = prompt;
}

at::Tensor Prefill::FillExact(const TokenIds& prompt, std::span<const PlacedPlan> plans,
                              KvCache& cache) {
  if (prompt != prompt_) Learn(prompt);
  std::vector<int64_t> all_rows;
  for (const PlacedPlan& placed : plans) all_rows.push_back(placed.row);
  for (size_t layer = 0; layer < exact_.size(); ++layer) {
    if (cache.is_packed(layer)) {
      cache.Pack(all_rows, layer, exact_[layer].keys, exact_[layer].values);
      continue;
    }
    for (const KvSide side : {KvSide::kKey, KvSide::kValue}) {
      const at::Tensor& exact = side == KvSide::kKey ? exact_[layer].keys : exact_[layer].values;
      for (const auto& [format, rows] : RowsByFormat(plans, layer, side)) {
        cache.Store(rows, layer, side,
                    FakeQuantize(exact, FormatOf(format), decoder_.SideOfLayer(layer, side)));
      }
    }
  }
  return last_hidden_.expand({static_cast<int64_t>(plans.size()), last_hidden_.size(1)});
}

}  // namespace kvtune
