// Remembers every score: repeated plans are free, in one run and over an interruption.
#pragma once

#include <filesystem>
#include <functional>
#include <unordered_map>

#include "lib/core/plan_evaluator.h"

namespace kvtune {

// Scores of plans seen before come from memory; the others go to `inner` as one batch without
// repetitions, and are handed to `on_scored` in the order of the batch.
class EvaluationCache : public PlanEvaluator {
 public:
  using OnScored = std::function<void(std::span<const PrecisionPlan>, std::span<const PlanScore>)>;

  // REQUIRES: inner outlives the cache.
  explicit EvaluationCache(PlanEvaluator& inner, OnScored on_scored = nullptr);

  size_t layer_count() const override { return inner_.layer_count(); }
  std::vector<PlanScore> Evaluate(std::span<const PrecisionPlan> plans) override;

  // Makes a score known that was made earlier.
  void Insert(const PrecisionPlan& plan, PlanScore score);

  int64_t distinct_plans() const { return static_cast<int64_t>(scores_.size()); }
  int64_t hits() const { return hits_; }
  // Plans and scores in the order of scoring.
  const std::vector<PrecisionPlan>& plans() const { return order_; }
  const PlanScore& ScoreOf(const PrecisionPlan& plan) const { return scores_.at(plan); }

 private:
  PlanEvaluator& inner_;
  OnScored on_scored_;
  std::unordered_map<PrecisionPlan, PlanScore, PrecisionPlanHash> scores_;
  std::vector<PrecisionPlan> order_;
  int64_t hits_ = 0;
};

}  // namespace kvtune
