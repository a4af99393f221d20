#include "search/search.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "lib/base/error.h"
#include "lib/base/random.h"
#include "search/genome.h"
#include "search/nsga2.h"
#include "search/pareto.h"

namespace kvtune {
namespace {

// Seeds of independent draws (DeriveSeed).
constexpr uint64_t kFirstGenerationSeed = 1;
constexpr uint64_t kNsga2Seed = 2;

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
        population_(RoundUpPopulation(options.population)) {
    if (genome_.layer_count() != evaluator.layer_count()) {
      throw Error(fmt::format("searching: found groups of {} layers, expected {} as the model has",
                              genome_.layer_count(), evaluator.layer_count()));
    }
  }

  SearchResult Run();

 private:
  size_t layer_count() const { return genome_.layer_count(); }

  void ScoreUniformPlans();
  // Scores plans in order until the limit of evaluations; returns how many.
  size_t Score(std::span<const PrecisionPlan> plans);
  std::vector<Objectives> ScoreGenes(std::span<const Genes> generation);
  bool ScoreWholeSpace();
  void RunNsga2();
  std::vector<Genes> FirstGeneration() const;

  void Report(int generation);
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
  SearchResult result_;
};

size_t SearchRun::Score(std::span<const PrecisionPlan> plans) {
  size_t count = plans.size();
  if (options_.max_evaluations > 0) {
    const int64_t left = options_.max_evaluations - evaluator_.distinct_plans();
    while (count > 0 && evaluator_.CountNew(plans.first(count)) > left) --count;
  }
  if (count > 0) evaluator_.Evaluate(plans.first(count));
  return count;
}

std::vector<Objectives> SearchRun::ScoreGenes(std::span<const Genes> generation) {
  std::vector<PrecisionPlan> plans;
  for (const Genes& genes : generation) plans.push_back(genome_.Decode(genes));
  const size_t scored = Score(plans);
  std::vector<Objectives> objectives;
  for (const PrecisionPlan& plan : std::span(plans).first(scored)) {
    objectives.push_back({LogLoss(evaluator_.ScoreOf(plan)), cost_(plan).bytes_per_token});
  }
  return objectives;
}

void SearchRun::ScoreUniformPlans() {
  const PrecisionPlan exact = PrecisionPlan::Uniform(kExactPair, layer_count());
  std::vector<PrecisionPlan> first_batch = {exact};
  for (const PrecisionPair pair : uniform_pairs_) {
    uniform_plans_.push_back(PrecisionPlan::Uniform(pair, layer_count()));
    first_batch.push_back(uniform_plans_.back());
  }
  const int64_t needed = evaluator_.distinct_plans() + evaluator_.CountNew(first_batch);
  if (options_.max_evaluations > 0 && needed > options_.max_evaluations) {
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
  Report(0);
}

void SearchRun::Report(int generation) {
  std::vector<Objectives> objectives;
  for (const PrecisionPlan& plan : evaluator_.plans()) {
    if (plan.is_exact()) continue;
    objectives.push_back({LogLoss(evaluator_.ScoreOf(plan)), cost_(plan).bytes_per_token});
  }
  GenerationReport report;
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
      fmt::format("the limit of {} evaluations is reached", options_.max_evaluations);
}

// False when the space is too large, or does not fit under the limit of evaluations.
bool SearchRun::ScoreWholeSpace() {
  if (genome_.space_size() > std::max<int64_t>(options_.enumerate_up_to, 1)) return false;
  std::vector<PrecisionPlan> plans;
  Genes genes(genome_.gene_count(), 0);
  do {
    plans.push_back(genome_.Decode(genes));
  } while (genome_.Next(genes));
  const int64_t needed = evaluator_.distinct_plans() + evaluator_.CountNew(plans);
  if (options_.max_evaluations > 0 && needed > options_.max_evaluations) return false;

  // In pieces of a generation's size, so that it can be watched, stopped and resumed like one.
  const auto batch_size = static_cast<size_t>(population_);
  int generation = 0;
  for (size_t begin = 0; begin < plans.size(); begin += batch_size) {
    const auto batch = std::span(plans).subspan(begin, std::min(batch_size, plans.size() - begin));
    evaluator_.Evaluate(batch);
    Report(++generation);
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

// The uniform plans and the caller's seeds as far as there is room, then random plans.
std::vector<Genes> SearchRun::FirstGeneration() const {
  const auto size = static_cast<size_t>(population_);
  std::vector<Genes> generation;
  const auto add_if_new = [&](Genes genes) {
    if (generation.size() < size &&
        std::find(generation.begin(), generation.end(), genes) == generation.end()) {
      generation.push_back(std::move(genes));
    }
  };
  for (const PrecisionPlan& plan : uniform_plans_) add_if_new(genome_.Project(plan));
  for (const PrecisionPlan& plan : options_.seed_plans) add_if_new(genome_.Project(plan));

  Random random(DeriveSeed(options_.seed, kFirstGenerationSeed));
  // Around a level of their own, from most to fewest bits: genes drawn apart would give plans of
  // middling size only.
  constexpr double kSpread = 0.5;  // of the choices
  const auto draw = [&] {
    Genes genes;
    const double level = random.Unit();
    for (const int choices : genome_.choices()) {
      const double position = level + kSpread * (random.Unit() - 0.5);
      genes.push_back(std::clamp(static_cast<int>(std::floor(position * choices)), 0, choices - 1));
    }
    return genes;
  };
  // A space smaller than the population has no further new plans: repetitions then fill it.
  for (int tries = 0; tries < 16 * population_ && generation.size() < size; ++tries)
    add_if_new(draw());
  while (generation.size() < size) generation.push_back(draw());
  return generation;
}

void SearchRun::RunNsga2() {
  const std::vector<Genes> first = FirstGeneration();
  const std::vector<Objectives> objectives = ScoreGenes(first);
  Report(1);
  if (objectives.size() < first.size()) return StopAtLimit();

  Nsga2Options options;
  options.crossover_probability = options_.crossover_probability;
  options.mutation_probability = options_.mutation_probability > 0
                                     ? options_.mutation_probability
                                     : 1.0 / static_cast<double>(genome_.gene_count());
  options.seed = DeriveSeed(options_.seed, kNsga2Seed);
  Nsga2 nsga2(
      genome_.choices(), first, objectives,
      [this](std::span<const Genes> generation) { return ScoreGenes(generation); }, options);
  for (int generation = 2; generation <= options_.generations; ++generation) {
    if (Interrupted(fmt::format("generation {} of {}", generation - 1, options_.generations)))
      return;
    const bool evolved = nsga2.Evolve();
    Report(generation);
    if (!evolved) return StopAtLimit();
  }
  result_.stop_reason = fmt::format("{} generations are done", options_.generations);
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
  if (!Interrupted("the uniform plans") && !ScoreWholeSpace()) RunNsga2();
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
