// The search stage: plans that no other plan beats in both quality loss and bytes.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "lib/core/layer_groups.h"
#include "lib/core/pareto_front.h"
#include "lib/core/precision_plan.h"
#include "search/evaluation_cache.h"

namespace kvtune {

struct SearchOptions {
  // Plans in a generation; rounded up to at least 8 and a multiple of 4 (pagmo2's own rule). With
  // the defaults 150 to 250 distinct plans are scored on 8 to 16 groups, the paper's 200 trials.
  int population = 20;
  // Generations, the first one included. Raise both for more groups.
  int generations = 11;
  double crossover_probability = 0.95;  // in [0, 1)
  double mutation_probability = 0;      // per gene, in (0, 1]; 0: 1 / number of genes
  // Distinct plans scored, exact and uniform plans included; never exceeded. 0: no limit but the
  // generations'.
  int64_t max_evaluations = 0;
  // A grouped space of at most this many plans is scored whole instead: about what the generations
  // would score, and the front is then the best possible one. 0: never.
  int64_t enumerate_up_to = 256;
  uint64_t seed = 0;
  // Further plans for the first generation, in order of preference: they are projected onto the
  // groups and come after the uniform plans, before random ones.
  std::vector<PrecisionPlan> seed_plans;
  // Asked after every generation; true ends the search with what is scored so far.
  std::function<bool()> should_stop;
};

// One line of the search's progress: after the uniform plans (0) and after every generation.
struct GenerationReport {
  int generation = 0;
  int64_t distinct_plans = 0;  // scored so far
  int64_t repeated_plans = 0;  // answered from memory
  size_t front_size = 0;
  // Area dominated by the plans so far in (log10 KL, bytes per token), within the worst uniform
  // plan and the exact plan's bytes: decades times bytes, higher is better.
  double hypervolume = 0;
};
using OnGeneration = std::function<void(const GenerationReport&)>;

struct SearchResult {
  std::vector<ScoredPlan> front;    // non-dominated among all scored plans, most bytes first
  std::vector<ScoredPlan> uniform;  // every pair of the target, in its order
  ScoredPlan reference;             // exact
  std::vector<GenerationReport> generations;
  bool exhaustive = false;   // the whole grouped space was scored
  bool interrupted = false;  // should_stop() ended it
  std::string stop_reason;   // a clause for people: "20 generations are done"
};

// Scores the exact plan and all uniform plans, then the whole grouped space when it is small, else
// runs pagmo2's nsga2 over one integer gene a group with more than one candidate, the first
// generation seeded with the uniform plans projected onto the groups. Objectives: mean forward KL
// (nats per token) and bytes per token. The front is taken over every plan scored, so that it never
// holds a dominated one; the exact plan is the reference and not on it. Front plans are named
// "p00", "p01", ... by descending bytes, uniform ones by their pair. Same seed and scores, same
// result.
//
// Throws Error for groups of another layer count and for options out of range (kUsage).
// REQUIRES: uniform_pairs is not empty.
SearchResult Search(const LayerGroups& groups, std::span<const PrecisionPair> uniform_pairs,
                    EvaluationCache& evaluator, const CostFunction& cost,
                    const SearchOptions& options, const OnGeneration& on_generation);

}  // namespace kvtune
