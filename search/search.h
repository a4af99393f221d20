// The search stage: finds plans that no other plan beats in both quality loss and bytes.
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

// What is searched, and what is known before the first plan is scored.
struct SearchProblem {
  LayerGroups groups;
  // The shape of the plans that the target can run. Only such plans are scored, and the exact plan,
  // which is the reference.
  PlanShape shape = {};
  std::vector<PrecisionPair> uniform_pairs;
  CostFunction cost;
  // The result of SensitivityLosses, which only the algorithm greedy needs.
  LayerLosses sensitivities = {};
  // Further plans for the first generation, in order of preference. They are projected onto the
  // groups, and come after the uniform plans and before random ones.
  std::vector<PrecisionPlan> seed_plans = {};
};

// What a search asks and tells while it runs. Any of these functions may be empty.
struct SearchHooks {
  // Called after the uniform plans, after every generation and after every round of the refinement.
  std::function<void(const GenerationReport&)> progress = nullptr;
  // should_stop and out_of_time are asked at the same times; true ends the search with what is
  // scored so far.
  std::function<bool()> should_stop = nullptr;
  std::function<bool()> out_of_time = nullptr;
  // Called once, after the uniform plans. Measures what every layer's pairs lose when that layer
  // alone is quantized (MeasureLayerLosses). These losses are the prior of the surrogate, which
  // seeds the first generation, screens children and leads the refinement. Without this function,
  // or when it returns nothing, the search has no surrogate and does none of these. It is not
  // called where the shape has one pair for all layers, except by the algorithm ilp.
  std::function<LayerLosses()> scout = nullptr;
};

inline constexpr size_t kMostNearPlans = 16;
inline constexpr double kNearFactor = 2;

struct SearchResult {
  std::vector<ScoredPlan> front;    // non-dominated among all scored plans, most bytes first
  std::vector<ScoredPlan> uniform;  // every pair of the target, in its order
  ScoredPlan reference;             // the exact plan
  // Scored on all prompts, neither on the front nor uniform, and so close to the front that the
  // choice of prompts may have decided: at most kMostNearPlans that lose at most kNearFactor times
  // the best plan of at most their bytes. Named "n00", "n01", ... by descending bytes.
  std::vector<ScoredPlan> near = {};
  SearchSummary summary;
  bool interrupted = false;  // should_stop() ended it
  bool out_of_time = false;  // out_of_time() ended it
};

// The plans that layer losses alone would choose, at most `count` of them spread over all sizes,
// for a search that has no surrogate because its own loss is another one. Throws Error as Search
// does for losses that do not fit.
std::vector<PrecisionPlan> SeedPlans(const SearchProblem& problem, LayerLosses losses,
                                     size_t count);

// Scores the exact plan and all uniform plans, then searches the groups: NSGA-II and MOEA/D
// score a small grouped space whole, else the algorithm runs over the genes of the shape
// (search/strategies.h). The refinement then tries any plan of the shape, without groups.
// Objectives: the loss (lib/core/objective.h) and bytes per token. The front is taken over all
// scored plans, so that it never holds a dominated one; the exact plan is the reference and is not
// on it. Front plans are named "p00", "p01", ... by descending bytes, uniform ones by their pair.
// The same seed and scores give the same result.
//
// Throws Error for groups or layer losses of another layer count than the model's, for a pair
// without a layer loss, and for options out of range (kUsage). REQUIRES: uniform_pairs is not empty
// and the shape has each of them; a plan costs the sum of its layers' bytes.
SearchResult Search(const SearchProblem& problem, EvaluationCache& scores,
                    const SearchOptions& options, const SearchHooks& hooks = {});

}  // namespace kvtune
