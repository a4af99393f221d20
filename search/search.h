// The search stage: plans that no other plan beats in both quality loss and bytes.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "lib/core/layer_groups.h"
#include "lib/core/pareto_front.h"
#include "lib/core/plan_evaluator.h"
#include "search/evaluation_cache.h"

namespace kvtune {

struct SearchOptions {
  // NSGA-II: at least 8 and a multiple of 4 (pagmo2's own rule).
  int population = 24;
  int generations = 20;
  double crossover_probability = 0.95;
  double mutation_probability = 0;     // 0: 1 / number of genes
  // Distinct plans scored, uniform plans included; 0: no limit but the generations'.
  int64_t max_evaluations = 0;
  uint64_t seed = 0;
};

// What a plan costs, from the target; pure and cheap.
using CostFunction = std::function<PlanCost(const PrecisionPlan&)>;

// One line of the search's progress: after the uniform plans (0) and after every generation.
struct GenerationReport {
  int generation = 0;
  int64_t distinct_plans = 0;   // scored so far
  int64_t repeated_plans = 0;   // answered from memory
  size_t front_size = 0;
  double hypervolume = 0;       // of (log10 KL, bytes), higher is better
};
using OnGeneration = std::function<void(const GenerationReport&)>;

struct SearchResult {
  std::vector<ScoredPlan> front;    // non-dominated among all scored plans, most bytes first
  std::vector<ScoredPlan> uniform;  // every pair of the target, in its order
  ScoredPlan reference;             // exact
  std::vector<GenerationReport> generations;
};

// Scores the exact plan and all uniform plans, then runs pagmo2's nsga2 over one integer gene a group
// with more than one candidate, the first generation seeded with the uniform plans projected onto
// the groups. Objectives: mean forward KL and bytes per token. The front is taken over every plan
// scored, so that it never holds a dominated one. Same seed and scores, same result.
SearchResult Search(const LayerGroups& groups, std::span<const PrecisionPair> uniform_pairs, EvaluationCache& evaluator,
                    const CostFunction& cost, const SearchOptions& options, const OnGeneration& on_generation);

}  // namespace kvtune
