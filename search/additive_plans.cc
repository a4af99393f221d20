#include "search/additive_plans.h"

#include <limits>
#include <utility>

#include "search/knapsack.h"

namespace kvtune {
namespace {

// [gene][choice], against the plan of all zeros.
std::vector<std::vector<KnapsackChoice>> GeneChoices(const Genome& genome,
                                                     const LayerLosses& losses,
                                                     const CostFunction& cost) {
  Genes genes(genome.gene_count(), 0);
  const PrecisionPlan base = genome.Decode(genes);
  const double base_bytes = cost(base).bytes_per_token;
  const double base_loss = PredictLoss(losses, base);
  std::vector<std::vector<KnapsackChoice>> choices(genes.size());
  for (size_t gene = 0; gene < genes.size(); ++gene) {
    for (int choice = 0; choice < genome.choices()[gene]; ++choice) {
      genes[gene] = choice;
      const PrecisionPlan plan = genome.Decode(genes);
      choices[gene].push_back(
          {cost(plan).bytes_per_token - base_bytes, PredictLoss(losses, plan) - base_loss});
    }
    genes[gene] = 0;
  }
  return choices;
}

}  // namespace

LayerLosses SensitivityLosses(const SensitivityTable& table) {
  LayerLosses losses;
  losses.pairs = table.pairs;
  for (const LayerSensitivity& layer : table.layers) {
    losses.losses.emplace_back();
    for (const PairErrors& errors : layer.errors) losses.losses.back().push_back(errors.e_o);
  }
  return losses;
}

std::vector<PrecisionPlan> GreedyPlans(const Genome& genome, const LayerLosses& losses,
                                       const CostFunction& cost) {
  const std::vector<std::vector<KnapsackChoice>> choices = GeneChoices(genome, losses, cost);
  Genes genes(genome.gene_count(), 0);
  std::vector<PrecisionPlan> plans = {genome.Decode(genes)};
  while (true) {
    double cheapest = std::numeric_limits<double>::infinity();
    std::pair<size_t, int> step = {choices.size(), 0};
    for (size_t gene = 0; gene < choices.size(); ++gene) {
      const KnapsackChoice& now = choices[gene][static_cast<size_t>(genes[gene])];
      for (size_t choice = 0; choice < choices[gene].size(); ++choice) {
        const KnapsackChoice& next = choices[gene][choice];
        if (next.bytes >= now.bytes) continue;
        const double loss_per_byte = (next.loss - now.loss) / (now.bytes - next.bytes);
        if (loss_per_byte >= cheapest) continue;
        cheapest = loss_per_byte;
        step = {gene, static_cast<int>(choice)};
      }
    }
    if (step.first == choices.size()) return plans;
    genes[step.first] = step.second;
    plans.push_back(genome.Decode(genes));
  }
}

std::vector<PrecisionPlan> AdditiveFront(const Genome& genome, const LayerLosses& losses,
                                         const CostFunction& cost) {
  std::vector<PrecisionPlan> plans;
  for (const std::vector<size_t>& selection : KnapsackFront(GeneChoices(genome, losses, cost))) {
    plans.push_back(genome.Decode(Genes(selection.begin(), selection.end())));
  }
  return plans;
}

}  // namespace kvtune
