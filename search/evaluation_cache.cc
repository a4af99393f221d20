#include "search/evaluation_cache.h"

#include <fmt/format.h>

#include <cmath>
#include <stdexcept>
#include <unordered_set>
#include <utility>

#include "lib/base/error.h"

namespace kvtune {
namespace {

// A NaN would be neither better nor worse than any score and stay on every front.
void RequireFiniteScore(const PrecisionPlan& plan, const PlanScore& score) {
  for (const double value : {score.kl_mean, score.kl_p99, score.kl_p999, score.top1_agreement,
                             score.nll, score.delta_nll}) {
    if (!std::isfinite(value)) {
      throw Error(
          fmt::format("scoring the plan \"{}\": found a score of {}, expected finite numbers",
                      PlanSpec(plan), value));
    }
  }
}

}  // namespace

EvaluationCache::EvaluationCache(PlanEvaluator& inner, OnScored on_scored)
    : inner_(inner), on_scored_(std::move(on_scored)) {}

void EvaluationCache::Insert(const PrecisionPlan& plan, PlanScore score) {
  entries_.try_emplace(plan, Entry{std::move(score)});
}

int64_t EvaluationCache::CountNew(std::span<const PrecisionPlan> plans) const {
  std::unordered_set<PrecisionPlan, PrecisionPlanHash> fresh;
  for (const PrecisionPlan& plan : plans) {
    const auto known = entries_.find(plan);
    if (known == entries_.end() || !known->second.asked_for) fresh.insert(plan);
  }
  return static_cast<int64_t>(fresh.size());
}

void EvaluationCache::ScoreUnknown(std::span<const PrecisionPlan> plans) {
  std::vector<PrecisionPlan> unknown;
  std::unordered_set<PrecisionPlan, PrecisionPlanHash> queued;
  for (const PrecisionPlan& plan : plans) {
    if (!entries_.contains(plan) && queued.insert(plan).second) unknown.push_back(plan);
  }
  if (unknown.empty()) return;
  std::vector<PlanScore> scores = inner_.Evaluate(unknown);
  if (scores.size() != unknown.size()) {
    throw std::logic_error(
        fmt::format("PlanEvaluator gave {} scores for {} plans", scores.size(), unknown.size()));
  }
  for (size_t i = 0; i < unknown.size(); ++i) RequireFiniteScore(unknown[i], scores[i]);
  // Before the scores are known here: when they cannot be kept, they are not used either.
  if (on_scored_) on_scored_(unknown, scores);
  for (size_t i = 0; i < unknown.size(); ++i) Insert(unknown[i], std::move(scores[i]));
}

std::vector<PlanScore> EvaluationCache::Evaluate(std::span<const PrecisionPlan> plans) {
  ScoreUnknown(plans);
  std::vector<PlanScore> scores;
  scores.reserve(plans.size());
  for (const PrecisionPlan& plan : plans) {
    Entry& entry = entries_.at(plan);
    if (entry.asked_for) {
      ++hits_;
    } else {
      entry.asked_for = true;
      order_.push_back(plan);
    }
    scores.push_back(entry.score);
  }
  return scores;
}

}  // namespace kvtune
