#include "search/search.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "lib/base/error.h"
#include "search/nsga2.h"
#include "search/refinement.h"
#include "search/search_run.h"

namespace kvtune {
namespace {

constexpr int64_t kNoLimit = std::numeric_limits<int64_t>::max();

// Losses span orders of magnitude: on a linear scale the crowding distance would see the worst
// plans only. Dominance is the same on both.
double LogLoss(double loss) {
  constexpr double kTiny = 1e-12;  // nats per token, far below any rounding floor
  return std::log10(std::max(loss, kTiny));
}

void CheckOptions(const SearchOptions& options) {
  const auto require = [](bool holds, const std::string& found_and_expected) {
    if (!holds) throw Error("searching: " + found_and_expected, ExitCode::kUsage);
  };
  require(options.population >= 1,
          fmt::format("found a population of {}, expected at least 1", options.population));
  require(options.generations >= 1,
          fmt::format("found {} generations, expected at least 1", options.generations));
  require(options.crossover_probability >= 0 && options.crossover_probability < 1,
          fmt::format("found the crossover probability {}, expected 0 <= p < 1",
                      options.crossover_probability));
  require(options.mutation_probability >= 0 && options.mutation_probability <= 1,
          fmt::format("found the mutation probability {}, expected 0 <= p <= 1",
                      options.mutation_probability));
  require(options.max_evaluations >= 0,
          fmt::format("found a limit of {} evaluations, expected 0 (none) or more",
                      options.max_evaluations));
  require(options.stall_generations >= 0,
          fmt::format("found {} generations without progress, expected 0 (no limit) or more",
                      options.stall_generations));
  require(!options.racing || (options.racing->confidence > 0.5 && options.racing->confidence < 1),
          fmt::format("found the confidence {} of racing, expected one between 0.5 and 1",
                      options.racing ? options.racing->confidence : 0));
  require(options.refinement_evaluations >= 0,
          fmt::format("found {} evaluations for the refinement, expected 0 (none) or more",
                      options.refinement_evaluations));
}

// The surrogate knows a plan only by its layers' losses.
void CheckLayerLosses(const LayerLosses& losses, const LayerGroups& groups, size_t layer_count,
                      std::span<const PrecisionPair> uniform_pairs) {
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
  require_all(uniform_pairs);
  for (const LayerGroup& group : groups.groups) require_all(group.candidates);
}

}  // namespace

SearchRun::SearchRun(const LayerGroups& groups, std::span<const PrecisionPair> uniform_pairs,
                     EvaluationCache& evaluator, const CostFunction& cost,
                     const SearchOptions& options, const OnGeneration& on_generation)
    : genome_(groups, options.shape),
      uniform_pairs_(uniform_pairs),
      evaluator_(evaluator),
      cost_(cost),
      options_(options),
      on_generation_(on_generation),
      groups_(groups),
      population_(RoundUpPopulation(options.population)),
      limit_(options.max_evaluations > 0 ? options.max_evaluations : kNoLimit) {
  if (genome_.layer_count() != evaluator.layer_count()) {
    throw Error(fmt::format("searching: found groups of {} layers, expected {} as the model has",
                            genome_.layer_count(), evaluator.layer_count()));
  }
  if (options.algorithm == Algorithm::kGreedy && options.sensitivities.empty()) {
    throw Error("searching: found no sensitivities, expected them for the algorithm greedy");
  }
  const auto uniform_count = static_cast<int64_t>(uniform_pairs.size()) + 1;
  const int64_t budget =
      options.max_evaluations > 0 ? options.max_evaluations - uniform_count : kExactBudget;
  if (options.exact && genome_.space_size() > budget) {
    throw Error(fmt::format("searching exactly: found {} plans in the grouped space, expected at "
                            "most {} (fewer groups: --max-groups; a larger budget: "
                            "--max-evaluations)",
                            genome_.space_size(), budget),
                ExitCode::kUsage);
  }
  CheckLayerLosses(options.sensitivities, groups, layer_count(), uniform_pairs);
}

int64_t SearchRun::EvaluationsLeft() const { return limit_ - evaluator_.distinct_plans(); }

size_t SearchRun::Score(std::span<const PrecisionPlan> plans) {
  size_t count = plans.size();
  while (count > 0 && evaluator_.CountNew(plans.first(count)) > EvaluationsLeft()) --count;
  if (count > 0) ScoreAll(plans.first(count));
  return count;
}

void SearchRun::ScoreAll(std::span<const PrecisionPlan> plans) {
  if (options_.racing && !options_.exact) {
    evaluator_.Race(plans, cost_, *options_.racing);
  } else {
    evaluator_.Evaluate(plans);
  }
}

std::vector<Objectives> SearchRun::ObjectivesOfAll() const {
  std::vector<Objectives> objectives;
  for (const PrecisionPlan& plan : evaluator_.plans()) objectives.push_back(ObjectivesOf(plan));
  return objectives;
}

Objectives SearchRun::ObjectivesOf(const PrecisionPlan& plan) const {
  return {LogLoss(evaluator_.ScoreOf(plan).kl_of_all_prompts()), cost_(plan).bytes_per_token};
}

void SearchRun::ScoreUniformPlans() {
  const PrecisionPlan exact = PrecisionPlan::Uniform(kExactPair, layer_count());
  std::vector<PrecisionPlan> first_batch = {exact};
  for (const PrecisionPair pair : uniform_pairs_) {
    uniform_plans_.push_back(options_.shape.Uniform(pair, layer_count()));
    first_batch.push_back(uniform_plans_.back());
  }
  const int64_t needed = evaluator_.distinct_plans() + evaluator_.CountNew(first_batch);
  if (needed > limit_) {
    throw Error(
        fmt::format("searching: found a limit of {} evaluations, expected at least {} for the "
                    "exact and the uniform plans",
                    options_.max_evaluations, needed),
        ExitCode::kUsage);
  }
  evaluator_.Evaluate(first_batch);
  worst_ = {LogLoss(evaluator_.ScoreOf(uniform_plans_.front()).kl_mean),
            cost_(exact).bytes_per_token};
  for (const PrecisionPlan& plan : uniform_plans_) {
    worst_.loss = std::max(worst_.loss, LogLoss(evaluator_.ScoreOf(plan).kl_of_all_prompts()));
  }
  Report(SearchStage::kUniformPlans, 0);
}

// The grouped search would otherwise use up a small limit.
void SearchRun::ReserveForRefinement() {
  if (options_.max_evaluations == 0) return;
  constexpr int64_t kShare = 3;
  limit_ -= std::min(options_.refinement_evaluations, EvaluationsLeft() / kShare);
}

// So that even a scouting that is stopped leaves a front.
void SearchRun::Scout() {
  if (!options_.scout) return;
  layer_losses_ = options_.scout();
  if (options_.shape.mixes_exact_layers()) layer_losses_ = WithExactPair(std::move(layer_losses_));
  CheckLayerLosses(layer_losses_, groups_, layer_count(), uniform_pairs_);
}

LayerLosses SearchRun::FittedLosses() const {
  const std::vector<PrecisionPlan>& plans = evaluator_.plans();
  std::vector<double> losses;
  for (const PrecisionPlan& plan : plans) {
    losses.push_back(evaluator_.ScoreOf(plan).kl_of_all_prompts());
  }
  return FitLayerLosses(layer_losses_, plans, losses);
}

void SearchRun::Report(SearchStage stage, int generation) {
  std::vector<Objectives> objectives;
  for (const PrecisionPlan& plan : evaluator_.plans()) {
    if (!plan.is_exact()) objectives.push_back(ObjectivesOf(plan));
  }
  GenerationReport report;
  report.stage = stage;
  report.generation = generation;
  report.distinct_plans = evaluator_.distinct_plans();
  report.repeated_plans = evaluator_.hits();
  report.front_size = Front().size();
  report.hypervolume = Hypervolume(objectives, worst_);
  stalled_ = !generations_.empty() && report.hypervolume <= generations_.back().hypervolume
                 ? stalled_ + 1
                 : 0;
  generations_.push_back(report);
  if (on_generation_) on_generation_(report);
}

bool SearchRun::Stopped(std::string_view after) {
  result_.interrupted = options_.should_stop && options_.should_stop();
  if (result_.interrupted) {
    stop_reason_ = fmt::format("stopped after {}", after);
    return true;
  }
  result_.out_of_time = options_.out_of_time && options_.out_of_time();
  if (result_.out_of_time) stop_reason_ = fmt::format("the time is over after {}", after);
  return result_.out_of_time;
}

void SearchRun::StopAtLimit() {
  stop_reason_ =
      limit_ == options_.max_evaluations
          ? fmt::format("the limit of {} evaluations is reached", options_.max_evaluations)
          : fmt::format("the grouped search's share of {} evaluations is used", limit_);
}

std::vector<PrecisionPlan> SearchRun::ProposeRound(size_t count) const {
  const std::vector<Objectives> objectives = ObjectivesOfAll();
  return ProposePlans(FittedLosses(), cost_,
                      {evaluator_.plans(), objectives, worst_, options_.shape}, count);
}

void SearchRun::Refine() {
  const std::string grouped = std::exchange(stop_reason_, "");
  limit_ = options_.max_evaluations > 0 ? options_.max_evaluations : kNoLimit;
  const int64_t budget = std::min(options_.refinement_evaluations, EvaluationsLeft());
  const int64_t end = evaluator_.distinct_plans() + budget;
  const auto stop = [&](const std::string& why) {
    stop_reason_ = fmt::format("{}, then {}", grouped, why);
  };
  constexpr int kDullRounds = 2;  // in a row
  int dull_rounds = 0;
  for (int round = 1; dull_rounds < kDullRounds; ++round) {
    const int64_t left = end - evaluator_.distinct_plans();
    if (left == 0 && EvaluationsLeft() == 0) return StopAtLimit();
    if (left == 0) return stop(fmt::format("{} plans of the refinement", budget));
    if (Stopped(round == 1 ? "the grouped search"
                           : fmt::format("round {} of the refinement", round - 1))) {
      return;
    }
    const std::vector<PrecisionPlan> proposed =
        ProposeRound(static_cast<size_t>(std::min<int64_t>(population_, left)));
    if (proposed.empty()) return stop("nothing that the refinement would try is left");
    ScoreAll(proposed);
    Report(SearchStage::kRefinement, round);
    const std::vector<ScoredPlan> front = Front();
    const bool added = std::any_of(front.begin(), front.end(), [&](const ScoredPlan& member) {
      return std::find(proposed.begin(), proposed.end(), member.plan) != proposed.end();
    });
    dull_rounds = added ? 0 : dull_rounds + 1;
  }
  stop(fmt::format("{} refinement rounds in a row added nothing", kDullRounds));
}

ScoredPlan SearchRun::Scored(std::string name, const PrecisionPlan& plan) const {
  return {.name = std::move(name),
          .plan = plan,
          .cost = cost_(plan),
          .calibration = evaluator_.ScoreOf(plan)};
}

std::vector<ScoredPlan> SearchRun::Front() const {
  const std::vector<PrecisionPlan>& plans = evaluator_.plans();
  std::vector<Objectives> objectives;
  for (const PrecisionPlan& plan : plans) {
    objectives.push_back(
        {evaluator_.ScoreOf(plan).kl_of_all_prompts(), cost_(plan).bytes_per_token});
  }
  // The exact plan competes, so that no plan as large as it stays, but is not itself a member. A
  // plan that racing stopped is dominated by the rival that its expected loss comes from.
  std::vector<size_t> members = NonDominated(objectives);
  std::erase_if(members, [&](size_t i) {
    return plans[i].is_exact() || !evaluator_.ScoreOf(plans[i]).complete();
  });
  std::reverse(members.begin(), members.end());
  std::vector<ScoredPlan> front;
  for (size_t i = 0; i < members.size(); ++i) {
    front.push_back(Scored(fmt::format("p{:02}", i), plans[members[i]]));
  }
  return front;
}

// Predicted losses may lie under what rounding allows; they are bounded like scores.
std::optional<double> SearchRun::SurrogateHypervolume() const {
  if (layer_losses_.empty()) return std::nullopt;
  const LayerLosses fitted = FittedLosses();
  std::vector<Objectives> front;
  for (const PrecisionPlan& plan : SurrogateFront(fitted, cost_, options_.shape)) {
    front.push_back({LogLoss(PredictLoss(fitted, plan)), cost_(plan).bytes_per_token});
  }
  return Hypervolume(front, worst_);
}

SearchSummary SearchRun::Summary() const {
  SearchSummary summary;
  summary.algorithm = WordOf(kAlgorithmWords, options_.algorithm);
  summary.exhaustive = exhaustive_;
  summary.stop_reason = stop_reason_;
  summary.distinct_plans = evaluator_.distinct_plans();
  const int64_t prompts = evaluator_.ScoreOf(evaluator_.plans().front()).prompts;
  for (const PrecisionPlan& plan : evaluator_.plans()) {
    summary.prompt_scores += evaluator_.ScoreOf(plan).prompts;
    summary.prompt_scores_saved += prompts - evaluator_.ScoreOf(plan).prompts;
  }
  summary.surrogate_hypervolume = SurrogateHypervolume();
  summary.generations = generations_;
  return summary;
}

SearchResult SearchRun::Run() {
  ScoreUniformPlans();
  if (!Stopped("the uniform plans")) Scout();
  if (!stopped() && !(options_.scout && Stopped("scouting single layers"))) {
    const bool refines =
        options_.refinement_evaluations > 0 && !layer_losses_.empty() &&
        (options_.algorithm == Algorithm::kNsga2 || options_.algorithm == Algorithm::kMoead);
    if (refines) ReserveForRefinement();
    SearchGroups();
    if (!stopped() && refines) Refine();
  }
  result_.summary = Summary();
  result_.front = Front();
  for (size_t i = 0; i < uniform_plans_.size(); ++i) {
    result_.uniform.push_back(Scored(PairLabel(uniform_pairs_[i]), uniform_plans_[i]));
  }
  result_.reference = Scored("exact", PrecisionPlan::Uniform(kExactPair, layer_count()));
  return std::move(result_);
}

SearchResult Search(const LayerGroups& groups, std::span<const PrecisionPair> uniform_pairs,
                    EvaluationCache& evaluator, const CostFunction& cost,
                    const SearchOptions& options, const OnGeneration& on_generation) {
  CheckOptions(options);
  return SearchRun(groups, uniform_pairs, evaluator, cost, options, on_generation).Run();
}

}  // namespace kvtune
