#include "search/evaluation_cache.h"

#include <fmt/format.h>

#include <cmath>
#include <stdexcept>
#include <unordered_set>
#include <utility>

#include "lib/base/error.h"
#include "lib/core/objective.h"
#include "search/pareto.h"

namespace kvtune {
namespace {

// A NaN would be neither better nor worse than any other score, and so would stay on every front.
void RequireFiniteScore(const PrecisionPlan& plan, const PlanScore& score) {
  for (const double value : {score.kl_mean, score.kl_p99, score.kl_p999, score.top1_agreement,
                             score.nll, score.delta_nll, LossOverAllPrompts(score)}) {
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

void EvaluationCache::InsertForeign(const PrecisionPlan& plan, PlanScore score) {
  if (score.complete()) entries_.try_emplace(plan, Entry{std::move(score), false, true});
}

int64_t EvaluationCache::CountNew(std::span<const PrecisionPlan> plans) const {
  std::unordered_set<PrecisionPlan, PrecisionPlanHash> fresh;
  for (const PrecisionPlan& plan : plans) {
    const auto known = entries_.find(plan);
    if (known == entries_.end() || !known->second.asked_for) fresh.insert(plan);
  }
  return static_cast<int64_t>(fresh.size());
}

void EvaluationCache::ScoreUnknown(std::span<const PrecisionPlan> plans, const Score& score) {
  std::vector<PrecisionPlan> news, unknown;
  std::unordered_set<PrecisionPlan, PrecisionPlanHash> queued;
  for (const PrecisionPlan& plan : plans) {
    const auto entry = entries_.find(plan);
    if (entry != entries_.end() && !entry->second.foreign) continue;
    if (!queued.insert(plan).second) continue;
    news.push_back(plan);
    if (entry == entries_.end()) unknown.push_back(plan);
  }
  if (news.empty()) return;
  std::vector<PlanScore> made;
  if (!unknown.empty()) made = score(unknown);
  if (made.size() != unknown.size()) {
    throw std::logic_error(
        fmt::format("PlanEvaluator gave {} scores for {} plans", made.size(), unknown.size()));
  }
  for (size_t i = 0; i < unknown.size(); ++i) RequireFiniteScore(unknown[i], made[i]);
  std::vector<PlanScore> scores;
  size_t next = 0;
  for (const PrecisionPlan& plan : news) {
    const auto entry = entries_.find(plan);
    scores.push_back(entry == entries_.end() ? std::move(made[next++]) : entry->second.score);
  }
  // on_scored_ comes before the scores are entered here: if it fails to keep them, they are not
  // used either.
  if (on_scored_) on_scored_(news, scores);
  for (size_t i = 0; i < news.size(); ++i) {
    entries_.insert_or_assign(news[i], Entry{std::move(scores[i])});
  }
}

std::vector<PlanScore> EvaluationCache::Answer(std::span<const PrecisionPlan> plans) {
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

std::vector<PlanScore> EvaluationCache::Evaluate(std::span<const PrecisionPlan> plans) {
  ScoreUnknown(plans, [&](auto unknown) { return inner_.Evaluate(unknown); });
  return Answer(plans);
}

std::vector<Rival> EvaluationCache::Rivals(std::span<const PrecisionPlan> batch,
                                           const CostFunction& cost) const {
  std::vector<Rival> complete;
  std::vector<Objectives> objectives;
  const auto add = [&](const PrecisionPlan& plan) {
    const auto entry = entries_.find(plan);
    if (entry == entries_.end() || !entry->second.score.complete()) return;
    complete.push_back({cost(plan), &entry->second.score});
    objectives.push_back(ObjectivesFor(LossOf(entry->second.score), complete.back().cost));
  };
  for (const PrecisionPlan& plan : order_) add(plan);
  for (const PrecisionPlan& plan : batch) add(plan);
  std::vector<Rival> rivals;
  for (const size_t i : NonDominated(objectives)) rivals.push_back(complete[i]);
  return rivals;
}

std::vector<PlanScore> EvaluationCache::Race(std::span<const PrecisionPlan> plans,
                                             const CostFunction& cost,
                                             const RacingOptions& options) {
  ScoreUnknown(plans, [&](std::span<const PrecisionPlan> unknown) {
    std::vector<PlanCost> costs;
    for (const PrecisionPlan& plan : unknown) costs.push_back(cost(plan));
    return kvtune::Race(inner_, unknown, costs, Rivals(plans, cost), options);
  });
  return Answer(plans);
}

}  // namespace kvtune
