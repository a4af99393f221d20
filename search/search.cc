#include "search/search.h"

#include <fmt/format.h>

#include <algorithm>
#include <span>
#include <utility>

#include "lib/base/error.h"
#include "search/additive_plans.h"
#include "search/genome.h"
#include "search/score_book.h"
#include "search/strategies.h"

namespace kvtune {
namespace {

// Checks that there is a loss of every pair in every layer, because the surrogate has nothing else
// to predict a plan from.
void CheckLayerLosses(const LayerLosses& losses, const SearchProblem& problem, size_t layer_count) {
  if (losses.empty()) return;
  if (losses.layer_count() != layer_count) {
    throw Error(fmt::format("searching: found losses of {} layers, expected {} as the model has",
                            losses.layer_count(), layer_count));
  }
  const auto require_all = [&](std::span<const PrecisionPair> pairs) {
    for (const PrecisionPair pair : pairs) {
      if (pair.is_exact() ||
          std::find(losses.pairs.begin(), losses.pairs.end(), pair) != losses.pairs.end()) {
        continue;
      }
      throw Error(fmt::format("searching: found no layer losses of {}, expected them of every pair",
                              PairLabel(pair)));
    }
  };
  require_all(problem.uniform_pairs);
  for (const LayerGroup& group : problem.groups.groups) require_all(group.candidates);
}

// Checks that problem and options fit each other and the model. Throws Error.
void CheckProblem(const SearchProblem& problem, const Genome& genome, const SearchOptions& options,
                  size_t layer_count) {
  if (genome.layer_count() != layer_count) {
    throw Error(fmt::format("searching: found groups of {} layers, expected {} as the model has",
                            genome.layer_count(), layer_count));
  }
  if (options.algorithm == Algorithm::kGreedy && problem.sensitivities.empty()) {
    throw Error("searching: found no sensitivities, expected them for the algorithm greedy");
  }
  const auto uniform_count = static_cast<int64_t>(problem.uniform_pairs.size()) + 1;
  const int64_t budget =
      options.max_evaluations > 0 ? options.max_evaluations - uniform_count : kExactBudget;
  if (options.exact && genome.space_size() > budget) {
    throw Error(fmt::format("searching exactly: found {} plans in the grouped space, expected at "
                            "most {} (fewer groups: --max-groups; a larger budget: "
                            "--max-evaluations)",
                            genome.space_size(), budget),
                ExitCode::kUsage);
  }
  CheckLayerLosses(problem.sensitivities, problem, layer_count);
}

LayerLosses WithExactWhereMixed(const SearchProblem& problem, LayerLosses losses) {
  return problem.shape.mixes_exact_layers() ? WithExactPair(std::move(losses)) : losses;
}

// Measures the surrogate's prior. Scouting runs after the uniform plans are scored and not before,
// so that a search which is stopped while it scouts already has a front to return.
void Scout(const SearchProblem& problem, const SearchHooks& hooks, ScoreBook& book) {
  LayerLosses losses = WithExactWhereMixed(problem, hooks.scout());
  CheckLayerLosses(losses, problem, book.layer_count());
  book.set_prior(std::move(losses));
}

void RunStages(const SearchProblem& problem, const Genome& genome, const SearchOptions& options,
               const SearchHooks& hooks, ScoreBook& book) {
  book.ScoreUniformPlans();
  if (book.Stopped("the uniform plans")) return;
  // Where all layers take one pair, the losses of single layers decide nothing: there are few plans
  // and all of them are scored. The integer program is nothing but these losses.
  const bool has_layer_choice = problem.shape.kind != ShapeKind::kOnePair;
  if (hooks.scout && (has_layer_choice || options.algorithm == Algorithm::kIlp)) {
    Scout(problem, hooks, book);
    if (book.Stopped("scouting single layers")) return;
  }
  const bool refines =
      options.refinement_evaluations > 0 && book.has_surrogate() && IsAdaptive(options.algorithm);
  if (refines) book.ReserveForRefinement();
  SearchGroups(book, genome);
  if (!book.stopped() && refines) Refine(book);
}

}  // namespace

std::vector<PrecisionPlan> SeedPlans(const SearchProblem& problem, LayerLosses losses,
                                     size_t count) {
  if (losses.empty()) return {};
  const Genome genome(problem.groups, problem.shape);
  losses = WithExactWhereMixed(problem, std::move(losses));
  CheckLayerLosses(losses, problem, genome.layer_count());
  return ThinOverBytes(AdditiveFront(genome, losses, problem.cost), problem.cost, count);
}

SearchResult Search(const SearchProblem& problem, EvaluationCache& scores,
                    const SearchOptions& options, const SearchHooks& hooks) {
  CheckSearchOptions(options);
  const Genome genome(problem.groups, problem.shape);
  CheckProblem(problem, genome, options, scores.layer_count());
  ScoreBook book(problem, scores, options, hooks);
  RunStages(problem, genome, options, hooks, book);
  return book.Result();
}

}  // namespace kvtune
