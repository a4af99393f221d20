// The search stage: plans that no other plan beats in both quality loss and bytes.
#pragma once

#include <functional>
#include <vector>

#include "lib/core/layer_groups.h"
#include "lib/core/pareto_front.h"
#include "lib/core/plan_shape.h"
#include "lib/core/precision_plan.h"
#include "lib/core/search_summary.h"
#include "search/evaluation_cache.h"
#include "search/search_options.h"
#include "search/surrogate.h"

namespace kvtune {

// What is searched, and what is known of it before the first score.
struct SearchProblem {
  LayerGroups groups;
  // What the target can run: no other plan is scored, but the exact one, which is the reference.
  PlanShape shape = {};
  std::vector<PrecisionPair> uniform_pairs;
  CostFunction cost;
  // Of the algorithm greedy: SensitivityLosses.
  LayerLosses sensitivities = {};
  // Further plans for the first generation, in order of preference: they are projected onto the
  // groups and come after the uniform plans, before random ones.
  std::vector<PrecisionPlan> seed_plans = {};
};

// What a search asks and tells while it runs; all may be empty.
struct SearchHooks {
  // Told after the uniform plans, every generation and every round of the refinement.
  std::function<void(const GenerationReport&)> progress = nullptr;
  // Asked at the same times; true ends the search with what is scored so far.
  std::function<bool()> should_stop = nullptr;
  std::function<bool()> out_of_time = nullptr;
  // Asked once, after the uniform plans: what every layer's pairs lose alone (MeasureLayerLosses),
  // the prior of the surrogate, which seeds and screens and leads the refinement. Without it, or
  // when it gives nothing: none of these.
  std::function<LayerLosses()> scout = nullptr;
};

struct SearchResult {
  std::vector<ScoredPlan> front;    // non-dominated among all scored plans, most bytes first
  std::vector<ScoredPlan> uniform;  // every pair of the target, in its order
  ScoredPlan reference;             // exact
  SearchSummary summary;
  bool interrupted = false;  // should_stop() ended it
  bool out_of_time = false;  // out_of_time() ended it
};

// Scores the exact plan and all uniform plans, then searches the groups: the whole grouped space
// when it is small, else the algorithm runs over the genes of the shape (search/strategies.h). Then
// refines: any plan of the shape, without groups. Objectives: the loss (lib/core/objective.h) and
// bytes per token. The front is taken over every plan scored, so that it never holds a dominated
// one; the exact plan is the reference and not on it. Front plans are named "p00", "p01", ... by
// descending bytes, uniform ones by their pair. Same seed and scores, same result.
//
// Throws Error for groups or layer losses of another layer count, for a pair without a layer loss
// and for options out of range (kUsage).
// REQUIRES: uniform_pairs is not empty and the shape has them; a plan costs the sum of its layers'
// bytes.
SearchResult Search(const SearchProblem& problem, EvaluationCache& scores,
                    const SearchOptions& options, const SearchHooks& hooks = {});

}  // namespace kvtune
