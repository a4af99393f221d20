// MOEA/D-DE (Li and Zhang 2009): pagmo2's, one generation at a time.
//
// pagmo2's version is for real numbers: a gene of n choices is a number in [0, n], rounded down. It
// asks for one plan at a time, so it forgoes what scoring a population together saves; it is here
// to be compared with.
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
  // Objectives of one plan, each from about 0 to 1, smaller is better. False: stop.
  using ScoreOne = std::function<bool(const Genes&, Objectives&)>;

  // REQUIRES: at least 8 plans in the first generation, as many objectives.
  Moead(const std::vector<int>& choices, std::span<const Genes> first_generation,
        std::span<const Objectives> objectives, ScoreOne score, uint64_t seed);
  ~Moead();
  Moead(const Moead&) = delete;
  Moead& operator=(const Moead&) = delete;

  // False when the scorer stopped; the population is then as it was.
  bool Evolve();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace kvtune
