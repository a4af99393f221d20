#include "search/first_generation.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "lib/base/random.h"

namespace kvtune {
namespace {

// Draws a level between most and fewest bits, and then the genes around it. Genes drawn
// independently of each other would average out and give plans of medium size only.
Genes DrawGenes(const Genome& genome, Random& random) {
  constexpr double kSpread = 0.5;  // as a share of the choices
  Genes genes;
  const double level = random.Unit();
  for (const int choices : genome.choices()) {
    if (genes.size() < genome.leading_genes()) {
      genes.push_back(static_cast<int>(random.Below(static_cast<uint64_t>(choices))));
      continue;
    }
    const double position = level + kSpread * (random.Unit() - 0.5);
    genes.push_back(std::clamp(static_cast<int>(std::floor(position * choices)), 0, choices - 1));
  }
  return genes;
}

}  // namespace

std::vector<Genes> FirstGeneration(const Genome& genome, std::span<const PrecisionPlan> seeds,
                                   size_t size, uint64_t random_seed) {
  std::vector<Genes> generation;
  const auto add_if_new = [&](Genes genes) {
    if (generation.size() < size &&
        std::find(generation.begin(), generation.end(), genes) == generation.end()) {
      generation.push_back(std::move(genes));
    }
  };
  for (const PrecisionPlan& plan : seeds) add_if_new(genome.Project(plan));

  Random random(random_seed);
  constexpr size_t kTriesPerPlan = 16;
  for (size_t tries = 0; tries < kTriesPerPlan * size && generation.size() < size; ++tries) {
    add_if_new(DrawGenes(genome, random));
  }
  while (generation.size() < size) generation.push_back(DrawGenes(genome, random));
  return generation;
}

}  // namespace kvtune
