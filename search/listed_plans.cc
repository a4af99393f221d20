// Strategies whose plans are all known before the first is scored.
#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "search/additive_plans.h"
#include "search/strategies.h"

namespace kvtune {
namespace {

// Scores the plans in batches of a generation's size, so that the work can be watched, stopped and
// resumed like generations. Returns false when it was stopped.
bool ScoreInBatches(ScoreBook& book, std::span<const PrecisionPlan> plans, std::string_view what) {
  int generation = 0;
  for (size_t begin = 0; begin < plans.size(); begin += book.population()) {
    const size_t end = std::min(begin + book.population(), plans.size());
    book.ScoreAll(plans.subspan(begin, end - begin));
    book.Report(SearchStage::kGroupedSearch, ++generation);
    if (end < plans.size() && book.Stopped(fmt::format("{} of {} {}", end, plans.size(), what))) {
      return false;
    }
  }
  return true;
}

}  // namespace

void SearchWholeSpace(ScoreBook& book, const Genome& genome) {
  std::vector<PrecisionPlan> plans;
  Genes genes(genome.gene_count(), 0);
  do {
    plans.push_back(genome.Decode(genes));
  } while (genome.Next(genes));
  if (!ScoreInBatches(book, plans, "plans of the grouped space")) return;
  book.set_exhaustive();
  book.End(fmt::format("the grouped space of {} plans is scored whole", plans.size()));
}

void ScorePlanList(ScoreBook& book, std::vector<PrecisionPlan> plans, std::string_view what) {
  const CostFunction& cost = book.problem().cost;
  std::ranges::stable_sort(plans, {},
                           [&](const PrecisionPlan& plan) { return cost(plan).bytes_per_token; });
  const int64_t of_generations =
      static_cast<int64_t>(book.population()) * book.options().generations;
  const int64_t wanted = std::min(of_generations, book.EvaluationsLeft());
  const std::vector<PrecisionPlan> chosen = ThinOverBytes(plans, cost, static_cast<size_t>(wanted));
  if (!ScoreInBatches(book, chosen, what)) return;
  book.End(fmt::format("{} of {} {} are scored", chosen.size(), plans.size(), what));
}

}  // namespace kvtune
