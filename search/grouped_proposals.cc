#include "search/grouped_proposals.h"

#include <optional>
#include <span>
#include <unordered_set>
#include <utility>

#include "search/additive_plans.h"

namespace kvtune {
namespace {

// The plans on the surrogate's front and those that differ from one of them in a single gene,
// without the plans that are scored already.
std::vector<Proposal> Candidates(const Genome& genome, const LayerLosses& losses,
                                 const CostFunction& cost, const ScoredSpace& scored) {
  std::unordered_set<PrecisionPlan, PrecisionPlanHash> known(scored.plans.begin(),
                                                             scored.plans.end());
  std::vector<Proposal> candidates;
  const auto offer = [&](PrecisionPlan plan) {
    if (!known.insert(plan).second) return;
    const Objectives predicted = PredictObjectives(losses, cost, plan);
    candidates.push_back({std::move(plan), predicted});
  };
  for (PrecisionPlan& plan :
       ThinOverBytes(AdditiveFront(genome, losses, cost), cost, kProposedSizes)) {
    Genes genes = genome.Project(plan);
    offer(std::move(plan));
    for (size_t gene = 0; gene < genes.size(); ++gene) {
      const int own = genes[gene];
      for (int choice = 0; choice < genome.choices()[gene]; ++choice) {
        genes[gene] = choice;
        offer(genome.Decode(genes));
      }
      genes[gene] = own;
    }
  }
  return candidates;
}

double ExpectedGain(std::span<const Objectives> front, const Objectives& predicted,
                    const Objectives& reference) {
  // In decades: the error of a fit near the front (docs/benchmarks.md).
  constexpr double kDeviation = 0.06;
  const auto gain = [&](double shift) {
    return HypervolumeGain(front, {predicted.loss + shift, predicted.bytes, predicted.milliseconds},
                           reference);
  };
  return (gain(-kDeviation) + gain(kDeviation)) / 2;
}

}  // namespace

std::vector<PrecisionPlan> ProposeGroupedPlans(const Genome& genome, const LayerLosses& losses,
                                               const CostFunction& cost, const ScoredSpace& scored,
                                               size_t count) {
  std::vector<Proposal> candidates = Candidates(genome, losses, cost, scored);
  std::vector<Objectives> known(scored.objectives.begin(), scored.objectives.end());
  std::vector<PrecisionPlan> proposals;
  while (proposals.size() < count) {
    const std::vector<Objectives> front = FrontOf(known);
    const auto gain = [&](const Objectives& predicted) {
      return ExpectedGain(front, predicted, scored.reference);
    };
    std::optional<Proposal> best = scored.reference.milliseconds ? TakeLargestGain(candidates, gain)
                                                                 : TakeBest(candidates, 0, gain);
    if (!best) break;
    known.push_back(best->predicted);
    proposals.push_back(std::move(best->plan));
  }
  return proposals;
}

}  // namespace kvtune
