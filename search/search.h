// The search stage: plans that no other plan beats in both quality loss and bytes.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "lib/base/words.h"
#include "lib/core/layer_groups.h"
#include "lib/core/pareto_front.h"
#include "lib/core/plan_shape.h"
#include "lib/core/precision_plan.h"
#include "lib/core/search_summary.h"
#include "search/evaluation_cache.h"
#include "search/racing.h"
#include "search/surrogate.h"

namespace kvtune {

// What searches the grouped space (docs/algorithm.md, "Search"):
//  - nsga2 (Deb et al. 2002), behind rounds of the surrogate's proposals and with its children
//  screened
//    by it: kvtune's own way;
//  - moead (Li and Zhang 2009), one plan at a time;
//  - random plans;
//  - greedy: layer sensitivities (e_o), bits taken away where they hurt least, no joint score used;
//  - ilp: isolated losses, one additive integer program for every size, no joint score used.
// The last three are what other tools do, to be compared with, and are not refined.
enum class Algorithm { kNsga2, kMoead, kRandom, kGreedy, kIlp };
inline constexpr Word<Algorithm> kAlgorithmWords[] = {{"nsga2", Algorithm::kNsga2},
                                                      {"moead", Algorithm::kMoead},
                                                      {"random", Algorithm::kRandom},
                                                      {"greedy", Algorithm::kGreedy},
                                                      {"ilp", Algorithm::kIlp}};

struct SearchOptions {
  Algorithm algorithm = Algorithm::kNsga2;
  // Plans in a generation; rounded up to at least 8 and a multiple of 4 (pagmo2's own rule).
  int population = 16;
  // Generations, the first one and rounds of proposals included. With the defaults 100 to 180
  // distinct plans are scored on 8 to 16 groups, the refinement's included (the paper: 200 trials).
  // Raise for more groups.
  int generations = 8;
  double crossover_probability = 0.95;  // in [0, 1)
  double mutation_probability = 0;      // per gene, in (0, 1]; 0: 1 / number of genes
  // Distinct plans scored, exact and uniform plans included; never exceeded. 0: no limit but the
  // generations' and the refinement's.
  int64_t max_evaluations = 0;
  // The grouped search ends after so many generations in a row without a larger hypervolume. 0: no
  // such end.
  int stall_generations = 0;
  // Score the whole grouped space on all prompts, or fail when it has more plans than
  // max_evaluations leaves (kExactBudget without one).
  bool exact = false;
  // A grouped space of at most this many plans is scored whole instead: about what the generations
  // would score, and the front is then the best possible one. 0: never.
  int64_t enumerate_up_to = 128;
  uint64_t seed = 0;
  // Further plans for the first generation, in order of preference: they are projected onto the
  // groups and come after the uniform plans, before random ones.
  std::vector<PrecisionPlan> seed_plans;
  // Asked once, after the uniform plans: what every layer's pairs lose alone (MeasureLayerLosses),
  // the prior of the surrogate, which seeds and screens and leads the refinement. Without it, or
  // when it gives nothing: none of these.
  std::function<LayerLosses()> scout;
  // Of the algorithm greedy: SensitivityLosses.
  LayerLosses sensitivities;
  // Distinct plans that the refinement may score after the grouped search; never exceeded. 0: none.
  // Where `max_evaluations` leaves less than three times as many after the uniform plans, the
  // refinement's share is a third. Raise for more layers.
  int64_t refinement_evaluations = 50;
  // Plans that others clearly beat are not scored on all prompts. Empty: all are.
  std::optional<RacingOptions> racing = RacingOptions{};
  // What the target can run: no other plan is scored, but the exact one, which is the reference.
  PlanShape shape;
  // Asked after every generation and round; true ends the search with what is scored so far.
  std::function<bool()> should_stop;
  std::function<bool()> out_of_time;
};

inline constexpr int64_t kExactBudget = 20'000;

using OnGeneration = std::function<void(const GenerationReport&)>;

struct SearchResult {
  std::vector<ScoredPlan> front;    // non-dominated among all scored plans, most bytes first
  std::vector<ScoredPlan> uniform;  // every pair of the target, in its order
  ScoredPlan reference;             // exact
  SearchSummary summary;
  bool interrupted = false;  // should_stop() ended it
  bool out_of_time = false;  // out_of_time() ended it
};

// Scores the exact plan and all uniform plans, then the whole grouped space when it is small, else
// runs the algorithm over the genes of the shape (search/genome.h), the first generation seeded
// with the uniform plans and the surrogate's front over the groups. Before nsga2's own, up to half
// of the generations are rounds of what the refitted surrogate proposes
// (search/grouped_proposals.h). Then refines: any plan of the shape, without groups, in rounds of
// up to a population. Each fits the surrogate to all scores so far and scores what ProposePlans
// finds; it ends after two rounds in a row that added nothing to the front. Objectives: mean
// forward KL (nats per token) and bytes per token. The front is taken over every plan scored, so
// that it never holds a dominated one; the exact plan is the reference and not on it. Front plans
// are named "p00", "p01", ... by descending bytes, uniform ones by their pair. Same seed and
// scores, same result.
//
// Throws Error for groups or layer losses of another layer count, for a pair without a layer loss
// and for options out of range (kUsage).
// REQUIRES: uniform_pairs is not empty and the shape has them; a plan costs the sum of its layers'
// bytes.
SearchResult Search(const LayerGroups& groups, std::span<const PrecisionPair> uniform_pairs,
                    EvaluationCache& evaluator, const CostFunction& cost,
                    const SearchOptions& options, const OnGeneration& on_generation);

}  // namespace kvtune
