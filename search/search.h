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
#include "search/surrogate.h"

namespace kvtune {

struct SearchOptions {
  // Plans in a generation; rounded up to at least 8 and a multiple of 4 (pagmo2's own rule).
  int population = 16;
  // Generations, the first one included. With the defaults about 100 distinct plans are scored on 8
  // to 16 groups, and 150 with the refinement (the paper: 200 trials). Raise for more groups.
  int generations = 8;
  double crossover_probability = 0.95;  // in [0, 1)
  double mutation_probability = 0;      // per gene, in (0, 1]; 0: 1 / number of genes
  // Distinct plans scored, exact and uniform plans included; never exceeded. 0: no limit but the
  // generations' and the refinement's.
  int64_t max_evaluations = 0;
  // A grouped space of at most this many plans is scored whole instead: about what the generations
  // would score, and the front is then the best possible one. 0: never.
  int64_t enumerate_up_to = 128;
  uint64_t seed = 0;
  // Further plans for the first generation, in order of preference: they are projected onto the
  // groups and come after the uniform plans, before random ones.
  std::vector<PrecisionPlan> seed_plans;
  // What every layer's pairs lose alone (MeasureLayerLosses): the prior of the surrogate, whose
  // front seeds the first generation after `seed_plans` and which leads the refinement. Empty:
  // neither.
  LayerLosses layer_losses;
  // Distinct plans that the refinement may score after the grouped search; never exceeded. 0: none.
  // Where `max_evaluations` leaves less than three times as many after the uniform plans, the
  // refinement's share is a third. Raise for more layers.
  int64_t refinement_evaluations = 50;
  // Asked after every generation and round; true ends the search with what is scored so far.
  std::function<bool()> should_stop;
};

enum class SearchStage { kUniformPlans, kGroupedSearch, kRefinement };

// One line of the search's progress: after the uniform plans, after every generation of the grouped
// search and after every round of the refinement.
struct GenerationReport {
  SearchStage stage = SearchStage::kUniformPlans;
  int generation = 0;          // of the stage, from 1; 0 for the uniform plans
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
// generation seeded with the uniform plans and the surrogate's front projected onto the groups.
// Then refines: any pair in any layer, in rounds of up to a population. Each fits the surrogate to
// all scores so far and scores what ProposePlans finds; it ends after two rounds in a row that
// added nothing to the front. Objectives: mean forward KL (nats per token) and bytes per token. The
// front is taken over every plan scored, so that it never holds a dominated one; the exact plan is
// the reference and not on it. Front plans are named "p00", "p01", ... by descending bytes, uniform
// ones by their pair. Same seed and scores, same result.
//
// Throws Error for groups or layer losses of another layer count, for a pair without a layer loss
// and for options out of range (kUsage).
// REQUIRES: uniform_pairs is not empty; a plan costs the sum of its layers' bytes.
SearchResult Search(const LayerGroups& groups, std::span<const PrecisionPair> uniform_pairs,
                    EvaluationCache& evaluator, const CostFunction& cost,
                    const SearchOptions& options, const OnGeneration& on_generation);

}  // namespace kvtune
