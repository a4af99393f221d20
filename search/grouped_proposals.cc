#include "search/grouped_proposals.h"

#include <cmath>
#include <span>
#include <unordered_set>
#include <utility>

#include "search/additive_plans.h"

namespace kvtune {
namespace {

// The surrogate's front and the plans one gene beside it, without what is scored.
std::vector<PrecisionPlan> Candidates(const Genome& genome, const LayerLosses& losses,
                                      const CostFunction& cost, const ScoredSpace& scored) {
  // More sizes than a batch could tell apart only take time.
  constexpr size_t kSizes = 256;
  std::unordered_set<PrecisionPlan, PrecisionPlanHash> known(scored.plans.begin(),
                                                             scored.plans.end());
  std::vector<PrecisionPlan> candidates;
  const auto offer = [&](PrecisionPlan plan) {
    if (known.insert(plan).second) candidates.push_back(std::move(plan));
  };
  for (PrecisionPlan& plan : ThinOverBytes(AdditiveFront(genome, losses, cost), cost, kSizes)) {
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
  constexpr double kDeviation = 0.06;  // decades: of a fit near the front (docs/benchmarks.md)
  const auto gain = [&](double shift) {
    return HypervolumeGain(front, {predicted.loss + shift, predicted.bytes}, reference);
  };
  return (gain(-kDeviation) + gain(kDeviation)) / 2;
}

}  // namespace

std::vector<PrecisionPlan> ProposeGroupedPlans(const Genome& genome, const LayerLosses& losses,
                                               const CostFunction& cost, const ScoredSpace& scored,
                                               size_t count) {
  std::vector<PrecisionPlan> candidates = Candidates(genome, losses, cost, scored);
  std::vector<Objectives> predicted;
  for (const PrecisionPlan& plan : candidates) {
    predicted.push_back({std::log10(PredictLoss(losses, plan)), cost(plan).bytes_per_token});
  }
  std::vector<Objectives> front(scored.objectives.begin(), scored.objectives.end());
  std::vector<PrecisionPlan> proposals;
  while (proposals.size() < count) {
    std::vector<Objectives> members;
    for (const size_t i : NonDominated(front)) members.push_back(front[i]);
    double most = 0;
    size_t best = candidates.size();
    for (size_t i = 0; i < candidates.size(); ++i) {
      const double gain = ExpectedGain(members, predicted[i], scored.reference);
      if (gain <= most) continue;
      most = gain;
      best = i;
    }
    if (best == candidates.size()) break;
    front.push_back(predicted[best]);
    proposals.push_back(std::move(candidates[best]));
    const auto at = static_cast<ptrdiff_t>(best);
    candidates.erase(candidates.begin() + at);
    predicted.erase(predicted.begin() + at);
  }
  return proposals;
}

}  // namespace kvtune
