#include "lib/runner/prefill.h"

#include <map>

#include "lib/runner/fake_quantize.h"
#include "lib/runner/plan_tree.h"
#include "lib/runner/score.h"

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

// One side of a prompt as plans store it. Each format is computed once.
class StoredForms {
 public:
  // exact: [kv_heads, tokens, head_dim]
  StoredForms(const at::Tensor& exact, const LayerSide& side) : exact_(exact), side_(side) {}

  const at::Tensor& In(KvFormatId format) {
    auto [entry, is_new] = stored_.try_emplace(format);
    if (is_new) entry->second = FakeQuantize(exact_, FormatOf(format), side_);
    return entry->second;
  }

 private:
  at::Tensor exact_;
  LayerSide side_;
  std::map<KvFormatId, at::Tensor> stored_;
};

}  // namespace

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
  at::Tensor hidden = decoder_.Embed(decoder_.IdsOf(prompt)).unsqueeze(0);
  for (size_t layer = 0; layer < tree.layers.size(); ++layer) {
    stream_.Enter(layer);
    const PlanPass pass{
        .stored = [&](size_t node, const at::Tensor& keys, const at::Tensor& values) {
          for (const size_t plan : plans_by_node[layer][node])
            cache.Store(placed[plan].row, layer, keys.squeeze(0), values.squeeze(0));
        }};
    hidden = AdvancePlans(decoder_, layer, tree.layers[layer], hidden, pass);
  }
  stream_.Leave();
  std::vector<int64_t> leaves(tree.leaf_of_plan.begin(), tree.leaf_of_plan.end());
  const at::Tensor leaf =
      at::from_blob(leaves.data(), {static_cast<int64_t>(leaves.size())}, at::kLong)
          .to(hidden.device());
  return LastToken(hidden).index_select(0, leaf);
}

void Prefill::Learn(const TokenIds& prompt) {
  prompt_.clear();
  exact_.assign(decoder_.config().layers.size(), {});
  at::Tensor hidden = decoder_.Embed(decoder_.IdsOf(prompt)).unsqueeze(0);
  const PlanTreeLayer exact = {{0, kExactPair}};
  for (size_t layer = 0; layer < exact_.size(); ++layer) {
    stream_.Enter(layer);
    const PlanPass pass{.stored = [&](size_t, const at::Tensor& keys, const at::Tensor& values) {
      exact_[layer] = {keys.squeeze(0), values.squeeze(0)};
    }};
    hidden = AdvancePlans(decoder_, layer, exact, hidden, pass);
  }
  stream_.Leave();
  last_hidden_ = LastToken(hidden);
  prompt_ = prompt;
}

at::Tensor Prefill::FillExact(const TokenIds& prompt, std::span<const PlacedPlan> plans,
                              KvCache& cache) {
  if (prompt != prompt_) Learn(prompt);
  for (size_t layer = 0; layer < exact_.size(); ++layer) {
    StoredForms keys(exact_[layer].keys, decoder_.SideOfLayer(layer, KvSide::kKey));
    StoredForms values(exact_[layer].values, decoder_.SideOfLayer(layer, KvSide::kValue));
    for (const PlacedPlan& placed : plans) {
      const PrecisionPair pair = placed.plan.layers[layer];
      cache.Store(placed.row, layer, keys.In(pair.key), values.In(pair.value));
    }
  }
  return last_hidden_.expand({static_cast<int64_t>(plans.size()), last_hidden_.size(1)});
}

}  // namespace kvtune
