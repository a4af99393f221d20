#include "search/scouting.h"

#include <algorithm>
#include <optional>
#include <set>
#include <vector>

#include "lib/core/objective.h"

namespace kvtune {
namespace {

bool ScoresAllPairs(size_t layers, size_t pairs) { return layers * pairs <= kMostScoutedPlans; }

// For each pair of a layer, which pairs tell what its sides lose: that of the same key format whose
// values have the smallest error, and that of the same value format whose keys have it. `base` is
// the pair of these better sides, if it is one that tells about others too.
struct Sides {
  size_t of_keys = 0;
  size_t of_values = 0;
  std::optional<size_t> base;

  bool are_of(size_t pair) const { return of_keys == pair || of_values == pair; }
};

std::vector<Sides> SidesOf(std::span<const PrecisionPair> pairs,
                           std::span<const PairErrors> errors) {
  std::vector<Sides> sides(pairs.size());
  for (size_t i = 0; i < pairs.size(); ++i) {
    sides[i] = {.of_keys = i, .of_values = i, .base = std::nullopt};
    for (size_t j = 0; j < pairs.size(); ++j) {
      if (pairs[j].key == pairs[i].key && errors[j].e_v < errors[sides[i].of_keys].e_v)
        sides[i].of_keys = j;
      if (pairs[j].value == pairs[i].value && errors[j].e_k < errors[sides[i].of_values].e_k)
        sides[i].of_values = j;
    }
    const PrecisionPair base{pairs[sides[i].of_values].key, pairs[sides[i].of_keys].value};
    const auto found = std::ranges::find(pairs, base);
    if (found != pairs.end()) sides[i].base = static_cast<size_t>(found - pairs.begin());
  }
  for (Sides& of_pair : sides) {
    if (of_pair.base && !sides[*of_pair.base].are_of(*of_pair.base)) of_pair.base.reset();
  }
  return sides;
}

// Scores plans that quantize one layer, a batch at a time.
class SingleLayers {
 public:
  SingleLayers(EvaluationCache& scores, const SensitivityTable& table)
      : scores_(scores), table_(table) {}

  void Add(size_t layer, size_t pair, double& loss) {
    plans_.push_back(PrecisionPlan::Uniform(kExactPair, table_.layers.size()));
    plans_.back().layers[layer] = table_.pairs[pair];
    losses_.push_back(&loss);
  }

  // False when `should_stop` said so.
  bool ScoreAll(const std::function<bool()>& should_stop) {
    // A batch is no larger than this because a scorer holds the activations of all its plans at
    // once.
    constexpr size_t kBatch = 32;
    for (size_t begin = 0; begin < plans_.size(); begin += kBatch) {
      if (should_stop && should_stop()) return false;
      const auto batch = std::span(plans_).subspan(begin, std::min(kBatch, plans_.size() - begin));
      const std::vector<PlanScore> scores = scores_.Evaluate(batch);
      for (size_t i = 0; i < scores.size(); ++i) *losses_[begin + i] = LossOf(scores[i]);
    }
    return true;
  }

 private:
  EvaluationCache& scores_;
  const SensitivityTable& table_;
  std::vector<PrecisionPlan> plans_;
  std::vector<double*> losses_;  // of each plan, where its loss goes
};

// What a pair loses that was not scored. The base is part of both sides. No pair loses less than
// one of its sides does.
double SumOfSides(const Sides& sides, const std::vector<double>& losses) {
  const double keys = losses[sides.of_keys], values = losses[sides.of_values];
  const double base = sides.base ? losses[*sides.base] : 0;
  return std::max({keys + values - base, keys, values});
}

}  // namespace

LayerLosses MeasureLayerLosses(const SensitivityTable& table, EvaluationCache& scores,
                               const std::function<bool()>& should_stop) {
  const size_t layers = table.layers.size(), pairs = table.pairs.size();
  const bool all = ScoresAllPairs(layers, pairs);
  LayerLosses isolated{.pairs = table.pairs, .losses = {}};
  isolated.losses.assign(layers, std::vector<double>(pairs));
  SingleLayers scout(scores, table);
  std::vector<std::vector<Sides>> sides;
  // A pair that is a side of its own is scored. The sides of other pairs are such pairs too.
  const auto is_known = [&](size_t layer, size_t i) {
    return all || IsolatedLossOf(table.layers[layer].errors[i]) || sides[layer][i].are_of(i);
  };
  for (size_t layer = 0; layer < layers; ++layer) {
    const std::vector<PairErrors>& errors = table.layers[layer].errors;
    sides.push_back(SidesOf(table.pairs, errors));
    for (size_t i = 0; i < pairs; ++i) {
      double& loss = isolated.losses[layer][i];
      if (const std::optional<double> measured = IsolatedLossOf(errors[i])) {
        loss = *measured;
      } else if (is_known(layer, i)) {
        scout.Add(layer, i, loss);
      }
    }
  }
  if (!scout.ScoreAll(should_stop)) return {};
  for (size_t layer = 0; layer < layers; ++layer) {
    std::vector<double>& losses = isolated.losses[layer];
    for (size_t i = 0; i < pairs; ++i) {
      if (!is_known(layer, i)) losses[i] = SumOfSides(sides[layer][i], losses);
    }
    for (double& loss : losses) loss = std::max(loss, kSmallestLayerLoss);
  }
  return isolated;
}

size_t ScoutedPlanCount(size_t layers, std::span<const PrecisionPair> pairs) {
  if (ScoresAllPairs(layers, pairs.size())) return layers * pairs.size();
  std::set<KvFormatId> keys, values;
  for (const PrecisionPair pair : pairs) {
    keys.insert(pair.key);
    values.insert(pair.value);
  }
  return layers * std::min(pairs.size(), keys.size() + values.size() - 1);
}

}  // namespace kvtune
