// Chooses the strategy that searches the groups, and holds what the algorithms over genes share.
#include "search/strategies.h"

#include <fmt/format.h>

#include <algorithm>

#include "lib/base/error.h"
#include "lib/base/random.h"
#include "search/additive_plans.h"
#include "search/first_generation.h"

namespace kvtune {

bool IsAdaptive(Algorithm algorithm) {
  return algorithm == Algorithm::kNsga2 || algorithm == Algorithm::kMoead;
}

void SearchGroups(ScoreBook& book, const Genome& genome) {
  const SearchOptions& options = book.options();
  const SearchProblem& problem = book.problem();
  // The uniform plans in the space are scored already and would not count, but they are few, so the
  // estimate ignores them.
  const bool is_small =
      genome.space_size() <= std::min(options.enumerate_up_to, book.EvaluationsLeft());
  if (options.exact || genome.gene_count() == 0 || (IsAdaptive(options.algorithm) && is_small)) {
    return SearchWholeSpace(book, genome);
  }
  switch (options.algorithm) {
    case Algorithm::kNsga2:
      return SearchByNsga2(book, genome);
    case Algorithm::kMoead:
      return SearchByMoead(book, genome);
    case Algorithm::kPaper:
      return SearchByPaper(book, genome);
    case Algorithm::kRandom:
      return SearchByRandomPlans(book, genome);
    case Algorithm::kGreedy:
      return ScorePlanList(book,
                           GreedyPlans(genome, WithExactPair(problem.sensitivities), problem.cost),
                           "plans of the greedy descent");
    case Algorithm::kIlp:
      if (!book.has_surrogate()) {
        throw Error("searching: found no layer losses, expected them for the algorithm ilp");
      }
      return ScorePlanList(book, AdditiveFront(genome, book.prior(), problem.cost),
                           "plans of the integer program");
  }
}

std::vector<Objectives> ScoreGenes(ScoreBook& book, const Genome& genome,
                                   std::span<const Genes> generation) {
  std::vector<PrecisionPlan> plans;
  for (const Genes& genes : generation) plans.push_back(genome.Decode(genes));
  const size_t scored = book.Score(plans);
  std::vector<Objectives> objectives;
  for (const PrecisionPlan& plan : std::span(plans).first(scored)) {
    objectives.push_back(book.ObjectivesOf(plan));
  }
  return objectives;
}

std::vector<Genes> FirstGenes(const ScoreBook& book, const Genome& genome) {
  const SearchProblem& problem = book.problem();
  // Of many uniform plans a part, so that they leave room for others.
  std::vector<PrecisionPlan> seeds = book.uniform_plans();
  if (const size_t most = book.population() * 3 / 4; seeds.size() > most)
    seeds = ThinOverBytes(seeds, problem.cost, most);
  seeds.insert(seeds.end(), problem.seed_plans.begin(), problem.seed_plans.end());
  if (book.has_surrogate()) {
    // The surrogate's plans fill half a generation only, so that random plans can find what the
    // surrogate is wrong about.
    const std::vector<PrecisionPlan> front =
        ThinOverBytes(AdditiveFront(genome, book.FittedLosses(), problem.cost), problem.cost,
                      book.population() / 2);
    seeds.insert(seeds.end(), front.begin(), front.end());
  }
  return FirstGeneration(genome, seeds, book.population(),
                         DeriveSeed(book.options().seed, SeedPurpose::kFirstGeneration));
}

bool EndsAfter(ScoreBook& book, int generation) {
  const SearchOptions& options = book.options();
  book.Report(SearchStage::kGroupedSearch, generation);
  if (generation == options.generations) {
    book.End(fmt::format("{} generations are done", generation));
    return true;
  }
  if (options.stall_generations > 0 && book.stalled() >= options.stall_generations) {
    book.End(fmt::format("{} generations in a row added nothing", options.stall_generations));
    return true;
  }
  return book.Stopped(fmt::format("generation {} of {}", generation, options.generations));
}

void EndAtLimitIn(ScoreBook& book, int generation) {
  book.Report(SearchStage::kGroupedSearch, generation);
  book.EndAtLimit();
}

}  // namespace kvtune
