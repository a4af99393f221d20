// MOEA/D-DE (Li and Zhang 2009) in pagmo2's implementation, run one generation at a time.
//
// pagmo2's version is for real numbers: a gene of n choices is a number in [0, n], rounded down. It
// asks for the score of one plan at a time, so it cannot save what scoring a population together
// saves. It is here for comparison.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "search/genome.h"
#include "search/pareto.h"

namespace kvtune {

class Moead {
 public:
  // Writes the objectives of one plan, each scaled to about 0 to 1, smaller is better. Returns
  // false to stop the generation.
  using ScoreOne = std::function<bool(const Genes&, Objectives&)>;

  // REQUIRES: the first generation has at least 8 plans, and there are as many objectives.
  Moead(const std::vector<int>& choices, std::span<const Genes> first_generation,
        std::span<const Objectives> objectives, ScoreOne score, uint64_t seed);
  ~Moead();
  Moead(const Moead&) = delete;
  Moead& operator=(const Moead&) = delete;

  // Runs one generation. Returns false when the scorer stopped it; the population is then as it was
  // before.
  bool Evolve();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace kvtune
