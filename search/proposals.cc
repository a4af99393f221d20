#include "search/proposals.h"

#include <algorithm>
#include <utility>

#include "lib/core/objective.h"

namespace kvtune {

Objectives PredictObjectives(const LayerLosses& losses, const CostFunction& cost,
                             const PrecisionPlan& plan) {
  return ObjectivesFor(LogLoss(PredictLoss(losses, plan)), cost(plan));
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

std::optional<Proposal> TakeLargestGain(std::vector<Proposal>& proposals,
                                        const std::function<double(const Objectives&)>& gain_of) {
  if (proposals.empty()) return std::nullopt;
  const auto look_at = [&](Proposal& proposal) {
    return proposal.largest_gain = gain_of(proposal.predicted);
  };
  // The one with the largest gain so far first, so that the others are compared with much.
  auto best = std::ranges::max_element(proposals, {}, &Proposal::largest_gain);
  double largest = look_at(*best);
  for (auto proposal = proposals.begin(); proposal != proposals.end(); ++proposal) {
    if (proposal == best || proposal->largest_gain < largest) continue;
    const double gain = look_at(*proposal);
    if (gain < largest || (gain == largest && proposal > best)) continue;
    largest = gain;
    best = proposal;
  }
  if (!(largest > 0)) return std::nullopt;
  Proposal taken = std::move(*best);
  proposals.erase(best);
  return taken;
}

}  // namespace kvtune
