// Remembers every score: repeated plans are free, in one run and over an interruption.
#pragma once

#include <functional>
#include <span>
#include <unordered_map>
#include <vector>

#include "lib/core/plan_evaluator.h"

namespace kvtune {

// Scores of plans seen before come from memory; the others go to `inner` as one batch without
// repetitions, and are handed to `on_scored` in the order of the batch.
//
// A score that was inserted is known but does not count until its plan is asked for. So a resumed
// search, which asks for the same plans in the same order, counts and decides as it did before, and
// hands `inner` the same batches that an uninterrupted one would.
class EvaluationCache : public PlanEvaluator {
 public:
  using OnScored = std::function<void(std::span<const PrecisionPlan>, std::span<const PlanScore>)>;

  // REQUIRES: inner outlives the cache.
  explicit EvaluationCache(PlanEvaluator& inner, OnScored on_scored = nullptr);

  size_t layer_count() const override { return inner_.layer_count(); }
  // Throws Error also for a score whose loss is not a finite number.
  std::vector<PlanScore> Evaluate(std::span<const PrecisionPlan> plans) override;

  // Makes a score known that was made earlier. The first one of a plan stays.
  void Insert(const PrecisionPlan& plan, PlanScore score);

  // How many of `plans` were not asked for yet, repetitions not counted.
  int64_t CountNew(std::span<const PrecisionPlan> plans) const;

  int64_t distinct_plans() const { return static_cast<int64_t>(order_.size()); }
  int64_t hits() const { return hits_; }
  // Distinct plans in the order in which they were first asked for.
  const std::vector<PrecisionPlan>& plans() const { return order_; }
  // REQUIRES: the plan was scored or inserted.
  const PlanScore& ScoreOf(const PrecisionPlan& plan) const { return entries_.at(plan).score; }

 private:
  struct Entry {
    PlanScore score;
    bool asked_for = false;
  };

  void ScoreUnknown(std::span<const PrecisionPlan> plans);

  PlanEvaluator& inner_;
  OnScored on_scored_;
  std::unordered_map<PrecisionPlan, Entry, PrecisionPlanHash> entries_;
  std::vector<PrecisionPlan> order_;
  int64_t hits_ = 0;
};

}  // namespace kvtune
