// The state of one search, what it knows and what it may still spend: the plans that are scored and
// their objectives, the surrogate's prior, the limit of evaluations, the reports so far, and why
// the search ended.
//
// A strategy (search/strategies.h) decides which plans come next, and it decides by the content of
// this book alone.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "search/pareto.h"
#include "search/proposals.h"
#include "search/search.h"

namespace kvtune {

class ScoreBook {
 public:
  // REQUIRES: all arguments outlive the book.
  ScoreBook(const SearchProblem& problem, EvaluationCache& scores, const SearchOptions& options,
            const SearchHooks& hooks);

  const SearchProblem& problem() const { return problem_; }
  const SearchOptions& options() const { return options_; }
  size_t layer_count() const { return scores_.layer_count(); }
  // The number of plans in a generation, rounded up to a size that pagmo2 accepts.
  size_t population() const { return population_; }

  // Scores the first batch: the exact plan and all uniform plans. Throws Error (kUsage) when the
  // limit is too small for them.
  void ScoreUniformPlans();
  // Scores plans in order until the limit of evaluations is reached. Returns how many were scored.
  size_t Score(std::span<const PrecisionPlan> plans);
  // Scores all of the plans. REQUIRES: the limit has room for them.
  void ScoreAll(std::span<const PrecisionPlan> plans);

  // Distinct plans in the order in which they were scored, and the objectives of each.
  const std::vector<PrecisionPlan>& plans() const { return scores_.plans(); }
  std::vector<Objectives> ObjectivesOfAll() const;
  bool IsScored(const PrecisionPlan& plan) const;
  // The objectives of a plan. REQUIRES: the plan is scored.
  Objectives ObjectivesOf(const PrecisionPlan& plan) const;
  const std::vector<PrecisionPlan>& uniform_plans() const { return uniform_plans_; }
  // The largest loss of any uniform plan, the bytes of the exact plan and the most time that any of
  // these takes: together the reference point of the hypervolume.
  const Objectives& worst() const { return worst_; }
  // The plans of the front by descending bytes, with their names.
  std::vector<ScoredPlan> Front() const;
  // The plans near the front, as SearchResult describes them.
  std::vector<ScoredPlan> NearFront(const std::vector<ScoredPlan>& front) const;

  // What every layer's pairs lose when that layer alone is quantized. If it is empty, the search
  // has no surrogate.
  void set_prior(LayerLosses losses) { prior_ = std::move(losses); }
  const LayerLosses& prior() const { return prior_; }
  bool has_surrogate() const { return !prior_.empty(); }
  // The surrogate fitted to all scores so far. REQUIRES: has_surrogate().
  LayerLosses FittedLosses() const;

  int64_t EvaluationsLeft() const { return limit_ - scores_.distinct_plans(); }
  // Holds back the refinement's share of the limit until it is released; the grouped search would
  // otherwise use up a small limit.
  void ReserveForRefinement();
  void ReleaseReserve();

  // Records how far the search has come and tells it to the hook `progress`.
  void Report(SearchStage stage, int generation);
  // How many of the last generations in a row did not enlarge the hypervolume.
  int stalled() const { return stalled_; }

  // Both record why the search or its stage ends.
  void End(std::string reason) { stop_reason_ = std::move(reason); }
  void EndAtLimit();
  const std::string& stop_reason() const { return stop_reason_; }
  void set_exhaustive() { exhaustive_ = true; }
  // Whether the user asked to stop or the time is over. If so, the reason is kept, with the stage
  // `after` which it happened.
  bool Stopped(std::string_view after);
  bool stopped() const { return interrupted_ || out_of_time_; }

  SearchResult Result() const;

 private:
  double LossOfAllPrompts(const PrecisionPlan& plan) const;
  ScoredPlan Scored(std::string name, const PrecisionPlan& plan) const;
  std::optional<double> SurrogateHypervolume() const;
  SearchSummary Summary() const;

  const SearchProblem& problem_;
  EvaluationCache& scores_;
  const SearchOptions& options_;
  const SearchHooks& hooks_;
  size_t population_;
  std::vector<PrecisionPlan> uniform_plans_;
  LayerLosses prior_;
  Objectives worst_;
  int64_t limit_;  // how many distinct plans may be scored by the end of the current stage
  int stalled_ = 0;
  bool exhaustive_ = false;
  bool interrupted_ = false;
  bool out_of_time_ = false;
  std::string stop_reason_;
  std::vector<GenerationReport> generations_;
};

}  // namespace kvtune
