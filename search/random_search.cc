#include <unordered_set>

#include "lib/base/random.h"
#include "search/first_generation.h"
#include "search/strategies.h"

namespace kvtune {

void SearchByRandomPlans(ScoreBook& book, const Genome& genome) {
  std::unordered_set<PrecisionPlan, PrecisionPlanHash> drawn;
  uint64_t seed = DeriveSeed(book.options().seed, SeedPurpose::kFirstGeneration);
  int generation = 0;
  do {
    ++generation;
    // Plans are drawn as for a first generation without seeds, anew every time.
    std::vector<Genes> fresh;
    for (const Genes& genes : FirstGeneration(genome, {}, book.population(), seed++)) {
      if (drawn.insert(genome.Decode(genes)).second) fresh.push_back(genes);
    }
    if (ScoreGenes(book, genome, fresh).size() < fresh.size()) {
      return EndAtLimitIn(book, generation);
    }
  } while (!EndsAfter(book, generation));
}

}  // namespace kvtune
