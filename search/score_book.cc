#include "search/score_book.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <limits>
#include <utility>

#include "lib/base/error.h"
#include "lib/core/objective.h"
#include "search/additive_plans.h"

namespace kvtune {
namespace {

// The limit of distinct plans for the whole search.
int64_t WholeLimit(const SearchOptions& options) {
  return options.max_evaluations > 0 ? options.max_evaluations
                                     : std::numeric_limits<int64_t>::max();
}

}  // namespace

ScoreBook::ScoreBook(const SearchProblem& problem, EvaluationCache& scores,
                     const SearchOptions& options, const SearchHooks& hooks)
    : problem_(problem),
      scores_(scores),
      options_(options),
      hooks_(hooks),
      population_(static_cast<size_t>(RoundUpPopulation(options.population))),
      limit_(WholeLimit(options)) {}

void ScoreBook::ScoreUniformPlans() {
  const PrecisionPlan exact = PrecisionPlan::Uniform(kExactPair, layer_count());
  std::vector<PrecisionPlan> first_batch = {exact};
  for (const PrecisionPair pair : problem_.uniform_pairs) {
    uniform_plans_.push_back(problem_.shape.Uniform(pair, layer_count()));
    first_batch.push_back(uniform_plans_.back());
  }
  const int64_t needed = scores_.distinct_plans() + scores_.CountNew(first_batch);
  if (needed > limit_) {
    throw Error(
        fmt::format("searching: found a limit of {} evaluations, expected at least {} for the "
                    "exact and the uniform plans",
                    options_.max_evaluations, needed),
        ExitCode::kUsage);
  }
  // These plans are never raced, because every front is compared with them.
  scores_.Evaluate(first_batch);
  worst_ = ObjectivesFor(ObjectivesOf(uniform_plans_.front()).loss, problem_.cost(exact));
  for (const PrecisionPlan& plan : uniform_plans_) {
    const Objectives of_plan = ObjectivesOf(plan);
    worst_.loss = std::max(worst_.loss, of_plan.loss);
    worst_.milliseconds = std::max(worst_.milliseconds, of_plan.milliseconds);
  }
  Report(SearchStage::kUniformPlans, 0);
}

size_t ScoreBook::Score(std::span<const PrecisionPlan> plans) {
  size_t count = plans.size();
  while (count > 0 && scores_.CountNew(plans.first(count)) > EvaluationsLeft()) --count;
  if (count > 0) ScoreAll(plans.first(count));
  return count;
}

void ScoreBook::ScoreAll(std::span<const PrecisionPlan> plans) {
  if (options_.racing && !options_.exact) {
    scores_.Race(plans, problem_.cost, *options_.racing);
  } else {
    scores_.Evaluate(plans);
  }
}

bool ScoreBook::IsScored(const PrecisionPlan& plan) const {
  return scores_.CountNew(std::span(&plan, 1)) == 0;
}

double ScoreBook::LossOfAllPrompts(const PrecisionPlan& plan) const {
  return LossOverAllPrompts(scores_.ScoreOf(plan));
}

Objectives ScoreBook::ObjectivesOf(const PrecisionPlan& plan) const {
  return ObjectivesFor(LogLoss(LossOfAllPrompts(plan)), problem_.cost(plan));
}

std::vector<Objectives> ScoreBook::ObjectivesOfAll() const {
  std::vector<Objectives> objectives;
  for (const PrecisionPlan& plan : plans()) objectives.push_back(ObjectivesOf(plan));
  return objectives;
}

ScoredPlan ScoreBook::Scored(std::string name, const PrecisionPlan& plan) const {
  return {.name = std::move(name),
          .plan = plan,
          .cost = problem_.cost(plan),
          .calibration = scores_.ScoreOf(plan)};
}

std::vector<ScoredPlan> ScoreBook::Front() const {
  std::vector<Objectives> objectives;
  for (const PrecisionPlan& plan : plans()) {
    objectives.push_back(ObjectivesFor(LossOfAllPrompts(plan), problem_.cost(plan)));
  }
  // The exact plan competes, so that plans as large as it drop out, but it is not a member itself.
  // Plans that racing stopped can be left out, since the rival that their expected loss comes from
  // dominates them.
  std::vector<size_t> members = NonDominated(objectives);
  std::erase_if(members, [&](size_t i) {
    return plans()[i].is_exact() || !scores_.ScoreOf(plans()[i]).complete();
  });
  std::reverse(members.begin(), members.end());
  std::vector<ScoredPlan> front;
  for (size_t i = 0; i < members.size(); ++i) {
    front.push_back(Scored(fmt::format("p{:02}", i), plans()[members[i]]));
  }
  return front;
}

std::vector<ScoredPlan> ScoreBook::NearFront(const std::vector<ScoredPlan>& front) const {
  struct Near {
    double factor;
    double bytes;
    const PrecisionPlan* plan;
  };
  const auto listed = [&](const PrecisionPlan& plan) {
    return plan.is_exact() || std::ranges::count(front, plan, &ScoredPlan::plan) > 0 ||
           std::ranges::count(uniform_plans_, plan) > 0;
  };
  std::vector<Near> close;
  for (const PrecisionPlan& plan : plans()) {
    if (listed(plan) || !scores_.ScoreOf(plan).complete()) continue;
    const PlanCost cost = problem_.cost(plan);
    double best = std::numeric_limits<double>::infinity();
    for (const ScoredPlan& member : front) {
      if (TakesNoMore(member.cost, cost)) best = std::min(best, LossOf(member.calibration));
    }
    const double factor = LossOf(scores_.ScoreOf(plan)) / best;
    if (factor <= kNearFactor) close.push_back({factor, cost.bytes_per_token, &plan});
  }
  std::ranges::stable_sort(close, {}, &Near::factor);
  close.resize(std::min(close.size(), kMostNearPlans));
  std::ranges::stable_sort(close, std::greater<>(), &Near::bytes);
  std::vector<ScoredPlan> near;
  for (size_t i = 0; i < close.size(); ++i) {
    near.push_back(Scored(fmt::format("n{:02}", i), *close[i].plan));
  }
  return near;
}

LayerLosses ScoreBook::FittedLosses() const {
  std::vector<double> losses;
  for (const PrecisionPlan& plan : plans()) losses.push_back(LossOfAllPrompts(plan));
  return FitLayerLosses(prior_, plans(), losses);
}

void ScoreBook::ReserveForRefinement() {
  if (options_.max_evaluations == 0) return;
  limit_ -= ReservedForRefinement(options_, EvaluationsLeft());
}

void ScoreBook::ReleaseReserve() { limit_ = WholeLimit(options_); }

void ScoreBook::Report(SearchStage stage, int generation) {
  std::vector<Objectives> objectives;
  for (const PrecisionPlan& plan : plans()) {
    if (!plan.is_exact()) objectives.push_back(ObjectivesOf(plan));
  }
  GenerationReport report;
  report.stage = stage;
  report.generation = generation;
  report.distinct_plans = scores_.distinct_plans();
  report.repeated_plans = scores_.hits();
  report.front_size = Front().size();
  report.hypervolume = Hypervolume(objectives, worst_);
  stalled_ = !generations_.empty() && report.hypervolume <= generations_.back().hypervolume
                 ? stalled_ + 1
                 : 0;
  generations_.push_back(report);
  if (hooks_.progress) hooks_.progress(report);
}

void ScoreBook::EndAtLimit() {
  End(limit_ == options_.max_evaluations
          ? fmt::format("the limit of {} evaluations is reached", options_.max_evaluations)
          : fmt::format("the grouped search's share of {} evaluations is used", limit_));
}

bool ScoreBook::Stopped(std::string_view after) {
  interrupted_ = hooks_.should_stop && hooks_.should_stop();
  if (interrupted_) {
    End(fmt::format("stopped after {}", after));
    return true;
  }
  out_of_time_ = hooks_.out_of_time && hooks_.out_of_time();
  if (out_of_time_) End(fmt::format("the time is over after {}", after));
  return out_of_time_;
}

// Predicted losses may be smaller than rounding lets any score be. PredictObjectives bounds them as
// scores are bounded, so that both hypervolumes can be compared.
std::optional<double> ScoreBook::SurrogateHypervolume() const {
  if (!has_surrogate()) return std::nullopt;
  const LayerLosses fitted = FittedLosses();
  std::vector<Objectives> front;
  for (const PrecisionPlan& plan : SurrogateFront(fitted, problem_.cost, problem_.shape)) {
    front.push_back(PredictObjectives(fitted, problem_.cost, plan));
  }
  return Hypervolume(front, worst_);
}

SearchSummary ScoreBook::Summary() const {
  SearchSummary summary;
  summary.algorithm = WordOf(kAlgorithmWords, options_.algorithm);
  summary.exhaustive = exhaustive_;
  summary.stop_reason = stop_reason_;
  summary.distinct_plans = scores_.distinct_plans();
  const int64_t prompts = scores_.ScoreOf(plans().front()).prompts;
  for (const PrecisionPlan& plan : plans()) {
    summary.prompt_scores += scores_.ScoreOf(plan).prompts;
    summary.prompt_scores_saved += prompts - scores_.ScoreOf(plan).prompts;
  }
  summary.surrogate_hypervolume = SurrogateHypervolume();
  summary.generations = generations_;
  return summary;
}

SearchResult ScoreBook::Result() const {
  SearchResult result{
      .front = Front(),
      .uniform = {},
      .reference = Scored("exact", PrecisionPlan::Uniform(kExactPair, layer_count())),
      .summary = Summary(),
      .interrupted = interrupted_,
      .out_of_time = out_of_time_};
  result.near = NearFront(result.front);
  for (size_t i = 0; i < uniform_plans_.size(); ++i) {
    result.uniform.push_back(Scored(PairLabel(problem_.uniform_pairs[i]), uniform_plans_[i]));
  }
  return result;
}

}  // namespace kvtune
