// NSGA-II (Deb et al. 2002) over integer genes, in pagmo2's implementation, run one generation at a
// time.
//
// This file knows only the loop around a population; what genes mean and what a plan costs is the
// caller's business. An implementation of our own was rejected, because pagmo2's is tested and its
// operators are those of the paper.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "search/genome.h"
#include "search/pareto.h"

namespace kvtune {

struct Nsga2Options {
  // Chance that two parents mix their genes, in [0, 1).
  double crossover_probability = 0.95;
  // Chance that a gene is drawn anew, in (0, 1].
  double mutation_probability = 0.1;
  uint64_t seed = 0;
};

// The smallest population that pagmo2 2.18 accepts and that holds `wanted` plans: its tournament
// needs at least 8 and a multiple of 4.
int RoundUpPopulation(int wanted);

// Returns the objectives of a whole generation, in order, smaller is better. Returning fewer than
// asked for stops the generation.
using ScoreGeneration = std::function<std::vector<Objectives>(std::span<const Genes>)>;

class Nsga2 {
 public:
  // REQUIRES: every gene has at least 2 choices; first_generation has a size that RoundUpPopulation
  // returns, and there are as many objectives.
  Nsga2(const std::vector<int>& choices, std::span<const Genes> first_generation,
        std::span<const Objectives> objectives, ScoreGeneration score, const Nsga2Options& options);
  ~Nsga2();
  Nsga2(const Nsga2&) = delete;
  Nsga2& operator=(const Nsga2&) = delete;

  // Breeds a generation, has it scored by one call, and keeps the best of parents and children.
  // Returns false when the scorer stopped; the population is then as it was before.
  bool Evolve();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace kvtune
