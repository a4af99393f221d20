// KVTuner's own loop (arXiv 2502.04420): NSGA-II from random
// plans with no help of a surrogate, by nominal bits. It is here to be compared with.
#include <algorithm>
#include <cstdint>
#include <utility>
#include <vector>

#include "lib/base/random.h"
#include "search/first_generation.h"
#include "search/nsga2.h"
#include "search/strategies.h"

namespace kvtune {
namespace {

// Nominal bits; the paper searches once under each.
constexpr double kSoftLimits[] = {4, 6};

// Worse than any loss and any bits: the objectives of a plan over the limit begin here.
constexpr double kOverLimit = 1e3;

// The objectives of the paper from those of the book.
std::vector<Objectives> ByNominalBits(const ScoreBook& book, const Genome& genome,
                                      std::span<const Genes> generation,
                                      const std::vector<Objectives>& scored, double limit) {
  std::vector<Objectives> objectives;
  for (size_t i = 0; i < scored.size(); ++i) {
    const double bits = book.problem().cost(genome.Decode(generation[i])).nominal_bits;
    const double over = kOverLimit + bits - limit;
    objectives.push_back(bits > limit ? Objectives{over, over} : Objectives{scored[i].loss, bits});
  }
  return objectives;
}

// A part of the search's generations and evaluations, for one limit.
struct Share {
  double limit = 0;
  int last_generation = 0;
  int64_t evaluations_left = 0;  // end when so few are left
};

// Returns false when the whole search is to end.
bool SearchUnderLimit(ScoreBook& book, const Genome& genome, const Share& share, int& generation) {
  const auto score = [&](std::span<const Genes> genes) {
    return ByNominalBits(book, genome, genes, ScoreGenes(book, genome, genes), share.limit);
  };
  // Each limit draws its own first plans.
  const uint64_t draw = book.options().seed + static_cast<uint64_t>(share.limit);
  const std::vector<Genes> first = FirstGeneration(genome, {}, book.population(),
                                                   DeriveSeed(draw, SeedPurpose::kFirstGeneration));
  ++generation;
  const std::vector<Objectives> objectives = score(first);
  if (objectives.size() < first.size()) {
    EndAtLimitIn(book, generation);
    return false;
  }
  if (EndsAfter(book, generation)) return false;
  const double one_gene = 1.0 / static_cast<double>(genome.gene_count());
  const double mutation = book.options().mutation_probability;
  Nsga2 nsga2(genome.choices(), first, objectives, score,
              {.crossover_probability = book.options().crossover_probability,
               .mutation_probability = mutation > 0 ? mutation : one_gene,
               .seed = DeriveSeed(draw, SeedPurpose::kNsga2)});
  while (generation < share.last_generation && book.EvaluationsLeft() > share.evaluations_left) {
    ++generation;
    if (!nsga2.Evolve()) {
      EndAtLimitIn(book, generation);
      return false;
    }
    if (EndsAfter(book, generation)) return false;
  }
  return true;
}

}  // namespace

void SearchByPaper(ScoreBook& book, const Genome& genome) {
  const int generations = book.options().generations;
  const Share shares[] = {{kSoftLimits[0], generations / 2, book.EvaluationsLeft() / 2},
                          {kSoftLimits[1], generations, 0}};
  int generation = 0;
  for (const Share& share : shares) {
    if (share.last_generation == 0) continue;  // a single generation has one limit
    if (!SearchUnderLimit(book, genome, share, generation)) return;
  }
  book.EndAtLimit();
}

}  // namespace kvtune
