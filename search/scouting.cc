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

// What a pair loses that was not scored. The base is part of both sides. No pair loses less than
// one of its sides does.
double SumOfSides(const Sides& sides, const std::vector<double>& losses) {
  const double keys = losses[sides.of_keys], values = losses[sides.of_values];
  const double base = sides.base ? losses[*sides.base] : 0;
  return std::max({keys + values - base, keys, values});
}

}  // namespace

LayerLosses MeasureLayerLosses(const SensitivityTable& table, EvaluationCache& scout,
                               const std::function<bool()>& should_stop) {
  // A batch is no larger than this because a scorer holds the activations of all its plans at once.
  constexpr size_t kBatch = 32;
  struct Sum {
    size_t layer, pair;
    Sides sides;
  };
  const size_t layers = table.layers.size(), pairs = table.pairs.size();
  const bool all = ScoresAllPairs(layers, pairs);
  LayerLosses isolated{.pairs = table.pairs, .losses = {}};
  isolated.losses.assign(layers, std::vector<double>(pairs));
  std::vector<PrecisionPlan> plans;
  std::vector<double*> places;  // of each plan, where its loss goes
  std::vector<Sum> sums;
  for (size_t layer = 0; layer < layers; ++layer) {
    const std::vector<PairErrors>& errors = table.layers[layer].errors;
    const std::vector<Sides> sides = SidesOf(table.pairs, errors);
    for (size_t i = 0; i < pairs; ++i) {
      double& loss = isolated.losses[layer][i];
      if (const std::optional<double> measured = IsolatedLossOf(errors[i])) {
        loss = *measured;
      } else if (all || sides[i].are_of(i)) {  // the sides of other pairs are such pairs too
        plans.push_back(PrecisionPlan::Uniform(kExactPair, layers));
        plans.back().layers[layer] = table.pairs[i];
        places.push_back(&loss);
      } else {
        sums.push_back({layer, i, sides[i]});
      }
    }
  }
  for (size_t begin = 0; begin < plans.size(); begin += kBatch) {
    if (should_stop && should_stop()) return {};
    const auto batch = std::span(plans).subspan(begin, std::min(kBatch, plans.size() - begin));
    const std::vector<PlanScore> scores = scout.Evaluate(batch);
    for (size_t i = 0; i < scores.size(); ++i) *places[begin + i] = LossOf(scores[i]);
  }
  for (const Sum& sum : sums) {
    std::vector<double>& losses = isolated.losses[sum.layer];
    losses[sum.pair] = SumOfSides(sum.sides, losses);
  }
  for (std::vector<double>& layer : isolated.losses) {
    for (double& loss : layer) loss = std::max(loss, kSmallestLayerLoss);
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
