// Remembers every score, so that no plan is scored twice: not within a run, not after an
// interruption, and not when another run scored it before.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <unordered_map>
#include <vector>

#include "lib/core/pareto_front.h"
#include "lib/core/plan_evaluator.h"
#include "search/racing.h"

namespace kvtune {

// Scores of plans seen before come from memory; the other plans go to `inner` as one batch without
// repetitions. All scores that are new to this run are handed to `on_scored` in the order of the
// batch.
//
// A score that was inserted is known, but it does not count as an evaluation until its plan is
// asked for. So a resumed search, which asks for the same plans in the same order, counts and
// decides as it did before, and hands `inner` the same batches that an uninterrupted one would.
class EvaluationCache {
 public:
  using OnScored = std::function<void(std::span<const PrecisionPlan>, std::span<const PlanScore>)>;

  // REQUIRES: inner outlives the cache.
  explicit EvaluationCache(PlanEvaluator& inner, OnScored on_scored = nullptr);

  size_t layer_count() const { return inner_.layer_count(); }
  size_t prompt_count() const { return inner_.prompt_count(); }
  // Scores every plan on all prompts. Besides what `inner` throws, throws Error for a score that is
  // not a finite number.
  std::vector<PlanScore> Evaluate(std::span<const PrecisionPlan> plans);
  // Plans that others clearly beat may stop early (search/racing.h). Their rivals are the plans of
  // the batch and all plans with complete scores that were asked for before. A plan that stopped in
  // an earlier race is not raced again and keeps the score it got there.
  std::vector<PlanScore> Race(std::span<const PrecisionPlan> plans, const CostFunction& cost,
                              const RacingOptions& options);

  // Makes a score known that this run made earlier and has in its log. If a plan is inserted twice,
  // its first score stays.
  void Insert(const PrecisionPlan& plan, PlanScore score);
  // The same for a score that another run made: when it is first used, it is handed to `on_scored`
  // as if it had been made now, so that this run's log has it too. An incomplete score is ignored.
  void InsertForeign(const PrecisionPlan& plan, PlanScore score);

  // How many distinct plans among `plans` were not asked for yet.
  int64_t CountNew(std::span<const PrecisionPlan> plans) const;

  int64_t distinct_plans() const { return static_cast<int64_t>(order_.size()); }
  int64_t hits() const { return hits_; }
  // Distinct plans in the order in which they were first asked for.
  const std::vector<PrecisionPlan>& plans() const { return order_; }
  // The score of a known plan. REQUIRES: the plan was scored or inserted.
  const PlanScore& ScoreOf(const PrecisionPlan& plan) const { return entries_.at(plan).score; }

 private:
  struct Entry {
    PlanScore score;
    bool asked_for = false;
    bool foreign = false;
  };
  using Score = std::function<std::vector<PlanScore>(std::span<const PrecisionPlan>)>;

  // Makes every plan known: `score` is called once, with the plans that are not known yet.
  void ScoreUnknown(std::span<const PrecisionPlan> plans, const Score& score);
  std::vector<PlanScore> Answer(std::span<const PrecisionPlan> plans);
  std::vector<Rival> Rivals(std::span<const PrecisionPlan> batch, const CostFunction& cost) const;

  PlanEvaluator& inner_;
  OnScored on_scored_;
  std::unordered_map<PrecisionPlan, Entry, PrecisionPlanHash> entries_;
  std::vector<PrecisionPlan> order_;
  int64_t hits_ = 0;
};

}  // namespace kvtune
