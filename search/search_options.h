// The options of a search that the command line may set, with each default in one place.
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>

#include "lib/base/words.h"
#include "search/nsga2.h"
#include "search/racing.h"

namespace kvtune {

// What searches the grouped space (docs/algorithm.md, "Search"). From kRandom on they are what
// other tools do; they are here for comparison, and what they find is not refined.
enum class Algorithm {
  kNsga2,   // Deb et al. 2002, after rounds of the surrogate's proposals and with its children
            // screened by it: kvtune's own way
  kMoead,   // Li and Zhang 2009, one plan at a time
  kRandom,  // random plans
  kGreedy,  // layer sensitivities (e_o), bits taken away where they hurt least, no joint score used
  kIlp,     // isolated losses, one additive integer program for every size, no joint score used
  kPaper,   // the loop of KVTuner itself (arXiv 2502.04420): NSGA-II from random plans, nominal
            // bits in place of bytes, once with a soft limit of 4 bits and once with 6
};
inline constexpr Word<Algorithm> kAlgorithmWords[] = {
    {"nsga2", Algorithm::kNsga2},   {"moead", Algorithm::kMoead}, {"random", Algorithm::kRandom},
    {"greedy", Algorithm::kGreedy}, {"ilp", Algorithm::kIlp},     {"paper", Algorithm::kPaper}};

struct SearchOptions {
  Algorithm algorithm = Algorithm::kNsga2;
  // Plans in a generation; rounded up to at least 8 and to a multiple of 4 (pagmo2's own rule).
  int population = 16;
  // The number of generations, including the first one and the rounds of proposals. With the
  // defaults 100 to 180 distinct plans are scored on 8 to 16 groups, including the refinement's
  // (the paper has 200 trials). Raise it for more groups.
  int generations = 8;
  double crossover_probability = Nsga2Options().crossover_probability;  // in [0, 1)
  double mutation_probability = 0;  // per gene, in (0, 1]; 0: 1 / number of genes
  // The most distinct plans that are scored, including the exact and the uniform plans; never
  // exceeded. At 0, only the generations and the refinement limit the search.
  int64_t max_evaluations = 0;
  // The grouped search ends after this many generations in a row without a larger hypervolume. 0
  // turns this off.
  int stall_generations = 0;
  // Scores the whole grouped space on all prompts, and fails when it has more plans than
  // max_evaluations leaves, or more than kExactBudget where max_evaluations is not set.
  bool exact = false;
  // kNsga2 and kMoead score a grouped space of at most this many plans whole: that takes about as
  // many scores as the generations would, and the front is then the best possible one. 0 turns this
  // off.
  int64_t enumerate_up_to = 128;
  uint64_t seed = 0;
  // The most distinct plans that the refinement may score after the grouped search; never exceeded,
  // and 0 turns the refinement off. Where `max_evaluations` leaves less than three times as many
  // after the uniform plans, the refinement gets a third of what is left. Raise it for more layers.
  int64_t refinement_evaluations = 50;
  // With racing, plans that others clearly beat are not scored on all prompts. nullopt scores every
  // plan on all of them.
  std::optional<RacingOptions> racing = RacingOptions{};
};

// Of `left` evaluations after the uniform plans, how many the grouped search leaves to the
// refinement.
constexpr int64_t ReservedForRefinement(const SearchOptions& options, int64_t left) {
  return std::min(options.refinement_evaluations, left / 3);
}

inline constexpr int64_t kExactBudget = 20'000;

// Throws Error (kUsage) for options out of range.
void CheckSearchOptions(const SearchOptions& options);

}  // namespace kvtune
