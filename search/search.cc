#include "search/search.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "lib/base/error.h"
#include "lib/base/random.h"
#include "search/first_generation.h"
#include "search/genome.h"
#include "search/nsga2.h"
#include "search/pareto.h"
#include "search/refinement.h"

namespace kvtune {
namespace {

constexpr int64_t kNoLimit = std::numeric_limits<int64_t>::max();

// Losses span orders of magnitude: on a linear scale the crowding distance would see the worst
// plans only. Dominance is the same on both.
double LogLoss(const PlanScore& score) {
  constexpr double kTiny = 1e-12;  // nats per token, far below any rounding floor
  return std::log10(std::max(score.kl_mean, kTiny));
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
      if (pair.is_exact() || std::find(losses.pairs.begin(), losses.pairs.end(), pair) !=
                                 losses.pairs.end()) {
        continue;
      }
      throw Error(fmt::format("searching: found no layer losses of {}, expected them of every pair",
                              PairLabel(pair)));
    }
  };
  require_all(uniform_pairs);
  for (const LayerGroup& group : groups.groups) require_all(group.candidates);
}

class SearchRun {
 public:
  SearchRun(const LayerGroups& groups, std::span<const PrecisionPair> uniform_pairs,
            EvaluationCache& evaluator, const CostFunction& cost, const SearchOptions& options,
            const OnGeneration& on_generation)
      : genome_(groups),
        uniform_pairs_(uniform_pairs),
        evaluator_(evaluator),
        cost_(cost),
        options_(options),
        on_generation_(on_generation),
        population_(RoundUpPopulation(options.population)),
        limit_(options.max_evaluations > 0 ? options.max_evaluations : kNoLimit) {
    if (genome_.layer_count() != evaluator.layer_count()) {
      throw Error(fmt::format("searching: found groups of {} layers, expected {} as the model has",
                              genome_.layer_count(), evaluator.layer_count()));
    }
    CheckLayerLosses(options.layer_losses, groups, layer_count(), uniform_pairs);
  }

  SearchResult Run();

 private:
  size_t layer_count() const { return genome_.layer_count(); }

  void ScoreUniformPlans();
  // Scores plans in order until the limit of evaluations; returns how many.
  size_t Score(std::span<const PrecisionPlan> plans);
  int64_t EvaluationsLeft() const;
  void ReserveForRefinement();
  std::vector<Objectives> ScoreGenes(std::span<const Genes> generation);
  bool ScoreWholeSpace();
  void RunNsga2();
  std::vector<PrecisionPlan> SeedPlans() const;
  void Refine();
  std::vector<PrecisionPlan> ProposeRound(size_t count) const;

  Objectives ObjectivesOf(const PrecisionPlan& plan) const;
  void Report(SearchStage stage, int generation);
  // Whether the user asked to stop, with the reason kept.
  bool Interrupted(std::string_view after);
  void StopAtLimit();
  ScoredPlan Scored(std::string name, const PrecisionPlan& plan) const;
  std::vector<ScoredPlan> Front() const;

  Genome genome_;
  std::span<const PrecisionPair> uniform_pairs_;
  EvaluationCache& evaluator_;
  const CostFunction& cost_;
  const SearchOptions& options_;
  const OnGeneration& on_generation_;
  int population_;
  std::vector<PrecisionPlan> uniform_plans_;
  Objectives worst_;  // reference point of the hypervolume
  int64_t limit_;     // of distinct plans, of the current stage
  SearchResult result_;
};

int64_t SearchRun::EvaluationsLeft() const { return limit_ - evaluator_.distinct_plans(); }

size_t SearchRun::Score(std::span<const PrecisionPlan> plans) {
  size_t count = plans.size();
  while (count > 0 && evaluator_.CountNew(plans.first(count)) > EvaluationsLeft()) --count;
  if (count > 0) evaluator_.Evaluate(plans.first(count));
  return count;
}

std::vector<Objectives> SearchRun::ScoreGenes(std::span<const Genes> generation) {
  std::vector<PrecisionPlan> plans;
  for (const Genes& genes : generation) plans.push_back(genome_.Decode(genes));
  const size_t scored = Score(plans);
  std::vector<Objectives> objectives;
  for (const PrecisionPlan& plan : std::span(plans).first(scored)) {
    objectives.push_back(ObjectivesOf(plan));
  }
  return objectives;
}

Objectives SearchRun::ObjectivesOf(const PrecisionPlan& plan) const {
  return {LogLoss(evaluator_.ScoreOf(plan)), cost_(plan).bytes_per_token};
}

void SearchRun::ScoreUniformPlans() {
  const PrecisionPlan exact = PrecisionPlan::Uniform(kExactPair, layer_count());
  std::vector<PrecisionPlan> first_batch = {exact};
  for (const PrecisionPair pair : uniform_pairs_) {
    uniform_plans_.push_back(PrecisionPlan::Uniform(pair, layer_count()));
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
  worst_ = {LogLoss(evaluator_.ScoreOf(uniform_plans_.front())), cost_(exact).bytes_per_token};
  for (const PrecisionPlan& plan : uniform_plans_) {
    worst_.loss = std::max(worst_.loss, LogLoss(evaluator_.ScoreOf(plan)));
  }
  Report(SearchStage::kUniformPlans, 0);
}

// The grouped search would otherwise use up a small limit.
void SearchRun::ReserveForRefinement() {
  if (options_.max_evaluations == 0 || options_.layer_losses.empty()) return;
  constexpr int64_t kShare = 3;
  limit_ -= std::min(options_.refinement_evaluations, EvaluationsLeft() / kShare);
}

void SearchRun::Report(SearchStage stage, int generation) {
  std::vector<Objectives> objectives;
  for (const PrecisionPlan& plan : evaluator_.plans()) {
    if (plan.is_exact()) continue;
    objectives.push_back(ObjectivesOf(plan));
  }
  GenerationReport report;
  report.stage = stage;
  report.generation = generation;
  report.distinct_plans = evaluator_.distinct_plans();
  report.repeated_plans = evaluator_.hits();
  report.front_size = Front().size();
  report.hypervolume = Hypervolume(objectives, worst_);
  result_.generations.push_back(report);
  if (on_generation_) on_generation_(report);
}

bool SearchRun::Interrupted(std::string_view after) {
  if (!options_.should_stop || !options_.should_stop()) return false;
  result_.interrupted = true;
  result_.stop_reason = fmt::format("stopped after {}", after);
  return true;
}

void SearchRun::StopAtLimit() {
  result_.stop_reason =
      limit_ == options_.max_evaluations
          ? fmt::format("the limit of {} evaluations is reached", options_.max_evaluations)
          : fmt::format("the grouped search's share of {} evaluations is used", limit_);
}

// False when the space is too large, or does not fit under the limit of evaluations.
bool SearchRun::ScoreWholeSpace() {
  if (genome_.space_size() > std::max<int64_t>(options_.enumerate_up_to, 1)) return false;
  std::vector<PrecisionPlan> plans;
  Genes genes(genome_.gene_count(), 0);
  do {
    plans.push_back(genome_.Decode(genes));
  } while (genome_.Next(genes));
  if (evaluator_.CountNew(plans) > EvaluationsLeft()) return false;

  // In pieces of a generation's size, so that it can be watched, stopped and resumed like one.
  const auto batch_size = static_cast<size_t>(population_);
  int generation = 0;
  for (size_t begin = 0; begin < plans.size(); begin += batch_size) {
    const auto batch = std::span(plans).subspan(begin, std::min(batch_size, plans.size() - begin));
    evaluator_.Evaluate(batch);
    Report(SearchStage::kGroupedSearch, ++generation);
    const size_t done = begin + batch.size();
    if (done < plans.size() &&
        Interrupted(fmt::format("{} of {} plans of the grouped space", done, plans.size()))) {
      return true;
    }
  }
  result_.exhaustive = true;
  result_.stop_reason = fmt::format("the grouped space of {} plans is scored whole", plans.size());
  return true;
}

// What the first generation starts from, in order of preference.
std::vector<PrecisionPlan> SearchRun::SeedPlans() const {
  std::vector<PrecisionPlan> plans = uniform_plans_;
  plans.insert(plans.end(), options_.seed_plans.begin(), options_.seed_plans.end());
  if (options_.layer_losses.empty()) return plans;
  // Half a generation: random plans find what the surrogate is wrong about.
  const std::vector<PrecisionPlan> front =
      ThinOverBytes(SurrogateFront(options_.layer_losses, cost_), cost_,
                    static_cast<size_t>(population_) / 2);
  plans.insert(plans.end(), front.begin(), front.end());
  return plans;
}

void SearchRun::RunNsga2() {
  const std::vector<Genes> first =
      FirstGeneration(genome_, SeedPlans(), static_cast<size_t>(population_),
                      DeriveSeed(options_.seed, SeedPurpose::kFirstGeneration));
  const std::vector<Objectives> objectives = ScoreGenes(first);
  Report(SearchStage::kGroupedSearch, 1);
  if (objectives.size() < first.size()) return StopAtLimit();

  Nsga2Options options;
  options.crossover_probability = options_.crossover_probability;
  options.mutation_probability = options_.mutation_probability > 0
                                     ? options_.mutation_probability
                                     : 1.0 / static_cast<double>(genome_.gene_count());
  options.seed = DeriveSeed(options_.seed, SeedPurpose::kNsga2);
  Nsga2 nsga2(
      genome_.choices(), first, objectives,
      [this](std::span<const Genes> generation) { return ScoreGenes(generation); }, options);
  for (int generation = 2; generation <= options_.generations; ++generation) {
    if (Interrupted(fmt::format("generation {} of {}", generation - 1, options_.generations)))
      return;
    const bool evolved = nsga2.Evolve();
    Report(SearchStage::kGroupedSearch, generation);
    if (!evolved) return StopAtLimit();
  }
  result_.stop_reason = fmt::format("{} generations are done", options_.generations);
}

std::vector<PrecisionPlan> SearchRun::ProposeRound(size_t count) const {
  const std::vector<PrecisionPlan>& plans = evaluator_.plans();
  std::vector<double> losses;
  std::vector<Objectives> objectives;
  for (const PrecisionPlan& plan : plans) {
    losses.push_back(evaluator_.ScoreOf(plan).kl_mean);
    objectives.push_back(ObjectivesOf(plan));
  }
  return ProposePlans(FitLayerLosses(options_.layer_losses, plans, losses), cost_,
                      {plans, objectives, worst_}, count);
}

void SearchRun::Refine() {
  const std::string grouped = std::exchange(result_.stop_reason, "");
  limit_ = options_.max_evaluations > 0 ? options_.max_evaluations : kNoLimit;
  const int64_t budget = std::min(options_.refinement_evaluations, EvaluationsLeft());
  const int64_t end = evaluator_.distinct_plans() + budget;
  const auto stop = [&](const std::string& why) {
    result_.stop_reason = fmt::format("{}, then {}", grouped, why);
  };
  constexpr int kDullRounds = 2;  // in a row
  int dull_rounds = 0;
  for (int round = 1; dull_rounds < kDullRounds; ++round) {
    const int64_t left = end - evaluator_.distinct_plans();
    if (left == 0 && EvaluationsLeft() == 0) return StopAtLimit();
    if (left == 0) return stop(fmt::format("{} plans of the refinement", budget));
    if (Interrupted(round == 1 ? "the grouped search"
                               : fmt::format("round {} of the refinement", round - 1))) {
      return;
    }
    const std::vector<PrecisionPlan> proposed =
        ProposeRound(static_cast<size_t>(std::min<int64_t>(population_, left)));
    if (proposed.empty()) return stop("nothing that the refinement would try is left");
    evaluator_.Evaluate(proposed);
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
  return {std::move(name), plan, cost_(plan), evaluator_.ScoreOf(plan), std::nullopt};
}

std::vector<ScoredPlan> SearchRun::Front() const {
  const std::vector<PrecisionPlan>& plans = evaluator_.plans();
  std::vector<Objectives> objectives;
  for (const PrecisionPlan& plan : plans) {
    objectives.push_back({evaluator_.ScoreOf(plan).kl_mean, cost_(plan).bytes_per_token});
  }
  // The exact plan competes, so that no plan as large as it stays, but is not itself a member.
  std::vector<size_t> members = NonDominated(objectives);
  std::erase_if(members, [&](size_t i) { return plans[i].is_exact(); });
  std::reverse(members.begin(), members.end());
  std::vector<ScoredPlan> front;
  for (size_t i = 0; i < members.size(); ++i) {
    front.push_back(Scored(fmt::format("p{:02}", i), plans[members[i]]));
  }
  return front;
}

SearchResult SearchRun::Run() {
  ScoreUniformPlans();
  if (!Interrupted("the uniform plans")) {
    ReserveForRefinement();
    if (!ScoreWholeSpace()) RunNsga2();
    const bool refines = options_.refinement_evaluations > 0 && !options_.layer_losses.empty();
    if (!result_.interrupted && refines) Refine();
  }
  result_.front = Front();
  for (size_t i = 0; i < uniform_plans_.size(); ++i) {
    result_.uniform.push_back(Scored(PairLabel(uniform_pairs_[i]), uniform_plans_[i]));
  }
  result_.reference = Scored("exact", PrecisionPlan::Uniform(kExactPair, layer_count()));
  return std::move(result_);
}

}  // namespace

SearchResult Search(const LayerGroups& groups, std::span<const PrecisionPair> uniform_pairs,
                    EvaluationCache& evaluator, const CostFunction& cost,
                    const SearchOptions& options, const OnGeneration& on_generation) {
  CheckOptions(options);
  return SearchRun(groups, uniform_pairs, evaluator, cost, options, on_generation).Run();
}

}  // namespace kvtune
