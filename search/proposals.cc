#include "search/proposals.h"

#include <utility>

#include "lib/core/objective.h"

namespace kvtune {

Objectives PredictObjectives(const LayerLosses& losses, const CostFunction& cost,
                             const PrecisionPlan& plan) {
  return {LogLoss(PredictLoss(losses, plan)), cost(plan).bytes_per_token};
}

std::vector<Objectives> FrontOf(std::span<const Objectives> points) {
  std::vector<Objectives> front;
  for (const size_t i : NonDominated(points)) front.push_back(points[i]);
  return front;
}

std::optional<Proposal> TakeBest(std::vector<Proposal>& proposals, double least,
                                 const std::function<double(const Objectives&)>& value_of) {
  size_t best = proposals.size();
  for (size_t i = 0; i < proposals.size(); ++i) {
    const double value = value_of(proposals[i].predicted);
    if (!(value > least)) continue;
    least = value;
    best = i;
  }
  if (best == proposals.size()) return std::nullopt;
  Proposal taken = std::move(proposals[best]);
  proposals.erase(proposals.begin() + static_cast<ptrdiff_t>(best));
  return taken;
}

}  // namespace kvtune
