#include <algorithm>

#include "lib/base/random.h"
#include "search/moead.h"
#include "search/strategies.h"

namespace kvtune {
namespace {

// Scales each objective to the range from the best uniform plan to the worst. A decomposition
// weights objectives against each other, so they have to be of one scale.
class UniformScale {
 public:
  explicit UniformScale(const ScoreBook& book) : best_(book.worst()), worst_(book.worst()) {
    for (const PrecisionPlan& plan : book.uniform_plans()) {
      const Objectives of_plan = book.ObjectivesOf(plan);
      best_.loss = std::min(best_.loss, of_plan.loss);
      best_.bytes = std::min(best_.bytes, of_plan.bytes);
      if (of_plan.milliseconds)
        best_.milliseconds = std::min(*best_.milliseconds, *of_plan.milliseconds);
    }
  }

  Objectives operator()(const Objectives& of_plan) const {
    const auto share = [](double value, double low, double high) {
      return high > low ? (value - low) / (high - low) : 0;
    };
    Objectives scaled = {share(of_plan.loss, best_.loss, worst_.loss),
                         share(of_plan.bytes, best_.bytes, worst_.bytes)};
    if (of_plan.milliseconds)
      scaled.milliseconds = share(*of_plan.milliseconds, *best_.milliseconds, *worst_.milliseconds);
    return scaled;
  }

 private:
  Objectives best_, worst_;
};

}  // namespace

void SearchByMoead(ScoreBook& book, const Genome& genome) {
  const std::vector<Genes> first = FirstGenes(book, genome);
  const std::vector<Objectives> objectives = ScoreGenes(book, genome, first);
  if (objectives.size() < first.size()) return EndAtLimitIn(book, 1);
  if (EndsAfter(book, 1)) return;
  const UniformScale scaled(book);
  std::vector<Objectives> first_scaled;
  for (const Objectives& of_plan : objectives) first_scaled.push_back(scaled(of_plan));
  const auto score_one = [&](const Genes& genes, Objectives& answer) {
    const std::vector<Objectives> scored = ScoreGenes(book, genome, std::span(&genes, 1));
    if (scored.empty()) return false;
    answer = scaled(scored.front());
    return true;
  };
  Moead moead(genome.choices(), first, first_scaled, score_one,
              DeriveSeed(book.options().seed, SeedPurpose::kNsga2));
  int generation = 1;
  do {
    ++generation;
    if (!moead.Evolve()) return EndAtLimitIn(book, generation);
  } while (!EndsAfter(book, generation));
}

}  // namespace kvtune
