#include "lib/runner/prefill.h"

#include <map>
#include <utility>

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
          std::vector<int64_t> rows;
          for (const size_t plan : plans_by_node[layer][node]) rows.push_back(placed[plan].row);
          cache.Store(rows, layer, KvSide::kKey, keys.squeeze(0));
          cache.Store(rows, layer, KvSide::kValue, values.squeeze(0));
        }};
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
  at::Tensor hidden = decoder_.Embed(decoder_.IdsOf(prompt)).unsqueeze(0);
  const PlanTreeLayer exact = {{0, kExactPair}};
  for (size_t layer = 0; layer < exact_.size(); ++layer) {
    stream_.Enter(layer);
    const PlanPass pass{.stored = [&](size_t, const at::Tensor& keys, const at::Tensor& values) {
      exact_[layer] = {keys.squeeze(0), values.squeeze(0)};
    }};
    hidden =
        AdvancePlans(decoder_, layer, exact, decoder_.BroughtTo(layer, std::move(hidden)), pass);
  }
  stream_.Leave();
  hidden = decoder_.BroughtHome(std::move(hidden));
  last_hidden_ = LastToken(hidden);
  prompt_ = prompt;
}

at::Tensor Prefill::FillExact(const TokenIds& prompt, std::span<const PlacedPlan> plans,
                              KvCache& cache) {
  if (prompt != prompt_) Learn(prompt);
  for (size_t layer = 0; layer < exact_.size(); ++layer) {
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
