#include "lib/gate/blame.h"

namespace kvtune {

std::vector<Replacement> ReplacementsOf(const PrecisionPlan& plan, const PrecisionPlan& baseline) {
  std::vector<Replacement> replacements;
  const auto add = [&](size_t layer, Toward toward, PrecisionPair pair) {
    if (plan.layers[layer] == pair) return;
    replacements.push_back({layer, toward, plan});
    replacements.back().plan.layers[layer] = pair;
  };
  for (size_t layer = 0; layer < plan.layers.size(); ++layer) {
    add(layer, Toward::kBaseline, baseline.layers[layer]);
  }
  for (size_t layer = 0; layer < plan.layers.size(); ++layer) {
    add(layer, Toward::kExact, kExactPair);
  }
  return replacements;
}

std::optional<Blame> BestExplanation(const PrecisionPlan& plan, const Measurement& measured,
                                     std::span<const Replacement> replacements,
                                     std::span<const Measurement> measurements, Metric metric) {
  const double after = ValueOf(measured, metric);
  for (const Toward toward : {Toward::kBaseline, Toward::kExact}) {
    std::optional<Blame> best;
    double largest_drop = 0;
    for (size_t i = 0; i < replacements.size(); ++i) {
      if (replacements[i].toward != toward) continue;
      const double replaced = ValueOf(measurements[i], metric);
      const double drop = WorseSign(metric) * (after - replaced);
      if (drop <= largest_drop) continue;
      largest_drop = drop;
      const size_t layer = replacements[i].layer;
      best = Blame{.layer = layer,
                   .toward = toward,
                   .pair = PairLabel(plan.layers[layer]),
                   .replacement = PairLabel(replacements[i].plan.layers[layer]),
                   .metric = metric,
                   .after = after,
                   .replaced = replaced};
    }
    if (best) return best;
  }
  return std::nullopt;
}

}  // namespace kvtune
