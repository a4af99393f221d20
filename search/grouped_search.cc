// The algorithms over the grouped space; see SearchRun.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <unordered_set>
#include <utility>

#include "lib/base/error.h"
#include "lib/base/random.h"
#include "search/additive_plans.h"
#include "search/first_generation.h"
#include "search/grouped_proposals.h"
#include "search/moead.h"
#include "search/nsga2.h"
#include "search/search_run.h"

namespace kvtune {

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

bool SearchRun::EndsAfter(int generation) {
  Report(SearchStage::kGroupedSearch, generation);
  if (generation == options_.generations) {
    stop_reason_ = fmt::format("{} generations are done", generation);
    return true;
  }
  if (options_.stall_generations > 0 && stalled_ >= options_.stall_generations) {
    stop_reason_ = fmt::format("{} generations in a row added nothing", options_.stall_generations);
    return true;
  }
  return Stopped(fmt::format("generation {} of {}", generation, options_.generations));
}

bool SearchRun::EnumerationFits() const {
  // Uniform plans that lie in the space would be free, but they are few.
  return genome_.space_size() <= std::min(options_.enumerate_up_to, EvaluationsLeft());
}

void SearchRun::ScoreWholeSpace() {
  std::vector<PrecisionPlan> plans;
  Genes genes(genome_.gene_count(), 0);
  do {
    plans.push_back(genome_.Decode(genes));
  } while (genome_.Next(genes));

  // In pieces of a generation's size, so that it can be watched, stopped and resumed like one.
  const auto batch_size = static_cast<size_t>(population_);
  int generation = 0;
  for (size_t begin = 0; begin < plans.size(); begin += batch_size) {
    const auto batch = std::span(plans).subspan(begin, std::min(batch_size, plans.size() - begin));
    ScoreAll(batch);
    Report(SearchStage::kGroupedSearch, ++generation);
    const size_t done = begin + batch.size();
    if (done < plans.size() &&
        Stopped(fmt::format("{} of {} plans of the grouped space", done, plans.size()))) {
      return;
    }
  }
  exhaustive_ = true;
  stop_reason_ = fmt::format("the grouped space of {} plans is scored whole", plans.size());
}

// The surrogate is refitted after every round, so that it is right where the front is. At most half
// of the generations: it is NSGA-II that finds what an additive model cannot see.
bool SearchRun::ScoreProposals(int& generation) {
  if (layer_losses_.empty()) return true;
  while (generation < options_.generations / 2) {
    const std::vector<Objectives> objectives = ObjectivesOfAll();
    const std::vector<PrecisionPlan> plans = ProposeGroupedPlans(
        genome_, FittedLosses(), cost_, {evaluator_.plans(), objectives, worst_, options_.shape},
        static_cast<size_t>(population_));
    if (plans.empty()) return true;
    ++generation;
    if (Score(plans) < plans.size()) {
      Report(SearchStage::kGroupedSearch, generation);
      StopAtLimit();
      return false;
    }
    if (EndsAfter(generation)) return false;
    if (stalled_ > 0) return true;
  }
  return true;
}

// Uniform plans, the caller's, the surrogate's, and random ones.
std::vector<Genes> SearchRun::FirstGenes() const {
  std::vector<PrecisionPlan> seeds = uniform_plans_;
  seeds.insert(seeds.end(), options_.seed_plans.begin(), options_.seed_plans.end());
  if (!layer_losses_.empty()) {
    // Half a generation: random plans find what the surrogate is wrong about.
    const std::vector<PrecisionPlan> front = ThinOverBytes(
        AdditiveFront(genome_, FittedLosses(), cost_), cost_, static_cast<size_t>(population_) / 2);
    seeds.insert(seeds.end(), front.begin(), front.end());
  }
  return FirstGeneration(genome_, seeds, static_cast<size_t>(population_),
                         DeriveSeed(options_.seed, SeedPurpose::kFirstGeneration));
}

// Children that the surrogate expects to be clearly dominated are not scored; the algorithm is told
// the expectation. Up to as many of its proposals are scored in their place. One child in four
// always goes through, so that what the surrogate is wrong about is found.
std::vector<Objectives> SearchRun::ScoreChildren(std::span<const Genes> children) {
  if (layer_losses_.empty()) return ScoreGenes(children);
  constexpr size_t kUnscreened = 4;
  constexpr double kMargin = 0.15;  // decades: about the error of a fit that goes well
  const LayerLosses fitted = FittedLosses();
  std::vector<PrecisionPlan> known = evaluator_.plans();  // and the children to be scored
  std::vector<Objectives> of_known = ObjectivesOfAll();
  const size_t scored_before = known.size();
  std::vector<Objectives> objectives(children.size());
  std::vector<PrecisionPlan> plans;
  std::vector<size_t> places;
  for (size_t i = 0; i < children.size(); ++i) {
    PrecisionPlan plan = genome_.Decode(children[i]);
    const Objectives expected = {std::log10(PredictLoss(fitted, plan)),
                                 cost_(plan).bytes_per_token};
    const auto scored = std::span(of_known).first(scored_before);
    const bool dominated = std::ranges::any_of(scored, [&](const Objectives& member) {
      return member.bytes <= expected.bytes && member.loss + kMargin <= expected.loss;
    });
    const bool is_new = evaluator_.CountNew(std::span(&plan, 1)) > 0;
    if (dominated && is_new && i % kUnscreened != 0) {
      objectives[i] = expected;
    } else {
      if (is_new) {
        known.push_back(plan);
        of_known.push_back(expected);
      }
      plans.push_back(std::move(plan));
      places.push_back(i);
    }
  }
  const size_t own = plans.size();
  for (PrecisionPlan& plan :
       ProposeGroupedPlans(genome_, fitted, cost_, {known, of_known, worst_, options_.shape},
                           children.size() - own)) {
    plans.push_back(std::move(plan));
  }
  const size_t scored = Score(plans);
  if (scored < own) return {};
  for (size_t k = 0; k < own; ++k) objectives[places[k]] = ObjectivesOf(plans[k]);
  return objectives;
}

void SearchRun::RunNsga2() {
  int generation = 0;
  if (!ScoreProposals(generation)) return;
  const std::vector<Genes> first = FirstGenes();
  const std::vector<Objectives> objectives = ScoreGenes(first);
  ++generation;
  if (objectives.size() < first.size()) {
    Report(SearchStage::kGroupedSearch, generation);
    return StopAtLimit();
  }
  if (EndsAfter(generation)) return;
  Nsga2Options options;
  options.crossover_probability = options_.crossover_probability;
  options.mutation_probability = options_.mutation_probability > 0
                                     ? options_.mutation_probability
                                     : 1.0 / static_cast<double>(genome_.gene_count());
  options.seed = DeriveSeed(options_.seed, SeedPurpose::kNsga2);
  Nsga2 nsga2(
      genome_.choices(), first, objectives,
      [this](std::span<const Genes> children) { return ScoreChildren(children); }, options);
  while (true) {
    ++generation;
    if (!nsga2.Evolve()) {
      Report(SearchStage::kGroupedSearch, generation);
      return StopAtLimit();
    }
    if (EndsAfter(generation)) return;
  }
}

void SearchRun::RunMoead() {
  const std::vector<Genes> first = FirstGenes();
  const std::vector<Objectives> objectives = ScoreGenes(first);
  if (objectives.size() < first.size()) {
    Report(SearchStage::kGroupedSearch, 1);
    return StopAtLimit();
  }
  if (EndsAfter(1)) return;
  // Weights of a decomposition want objectives of one scale: from the best uniform plan to the
  // worst.
  Objectives best = worst_;
  for (const PrecisionPlan& plan : uniform_plans_) {
    const Objectives of_plan = ObjectivesOf(plan);
    best.loss = std::min(best.loss, of_plan.loss);
    best.bytes = std::min(best.bytes, of_plan.bytes);
  }
  const auto scaled = [&](const Objectives& of_plan) {
    const auto share = [](double value, double low, double high) {
      return high > low ? (value - low) / (high - low) : 0;
    };
    return Objectives{share(of_plan.loss, best.loss, worst_.loss),
                      share(of_plan.bytes, best.bytes, worst_.bytes)};
  };
  std::vector<Objectives> first_scaled;
  for (const Objectives& of_plan : objectives) first_scaled.push_back(scaled(of_plan));
  const auto score_one = [&](const Genes& genes, Objectives& answer) {
    const std::vector<Objectives> scored = ScoreGenes(std::span(&genes, 1));
    if (scored.empty()) return false;
    answer = scaled(scored.front());
    return true;
  };
  Moead moead(genome_.choices(), first, first_scaled, score_one,
              DeriveSeed(options_.seed, SeedPurpose::kNsga2));
  for (int generation = 2;; ++generation) {
    if (!moead.Evolve()) {
      Report(SearchStage::kGroupedSearch, generation);
      return StopAtLimit();
    }
    if (EndsAfter(generation)) return;
  }
}

void SearchRun::RunRandom() {
  std::unordered_set<PrecisionPlan, PrecisionPlanHash> drawn;
  uint64_t seed = DeriveSeed(options_.seed, SeedPurpose::kFirstGeneration);
  for (int generation = 1;; ++generation) {
    // As a first generation without seeds; drawn anew every time.
    const std::vector<Genes> genes =
        FirstGeneration(genome_, {}, static_cast<size_t>(population_), seed++);
    std::vector<Genes> fresh;
    for (const Genes& each : genes) {
      if (drawn.insert(genome_.Decode(each)).second) fresh.push_back(each);
    }
    if (ScoreGenes(fresh).size() < fresh.size()) {
      Report(SearchStage::kGroupedSearch, generation);
      return StopAtLimit();
    }
    if (EndsAfter(generation)) return;
  }
}

// Plans that were chosen without a joint score: as many as the search may score, over all sizes.
void SearchRun::ScoreList(std::vector<PrecisionPlan> plans, std::string_view what) {
  std::ranges::stable_sort(plans, {},
                           [&](const PrecisionPlan& plan) { return cost_(plan).bytes_per_token; });
  const int64_t wanted = std::min(int64_t{population_} * options_.generations, EvaluationsLeft());
  const std::vector<PrecisionPlan> chosen =
      ThinOverBytes(plans, cost_, static_cast<size_t>(wanted));
  const auto batch_size = static_cast<size_t>(population_);
  int generation = 0;
  for (size_t begin = 0; begin < chosen.size(); begin += batch_size) {
    const auto batch =
        std::span(chosen).subspan(begin, std::min(batch_size, chosen.size() - begin));
    ScoreAll(batch);
    Report(SearchStage::kGroupedSearch, ++generation);
    const size_t done = begin + batch.size();
    if (done < chosen.size() && Stopped(fmt::format("{} of {} {}", done, chosen.size(), what))) {
      return;
    }
  }
  stop_reason_ = fmt::format("{} of {} {} are scored", chosen.size(), plans.size(), what);
}

void SearchRun::SearchGroups() {
  // A baseline is what it is also in a small space.
  const bool adapts =
      options_.algorithm == Algorithm::kNsga2 || options_.algorithm == Algorithm::kMoead;
  if (options_.exact || genome_.gene_count() == 0 || (adapts && EnumerationFits())) {
    return ScoreWholeSpace();
  }
  switch (options_.algorithm) {
    case Algorithm::kNsga2:
      return RunNsga2();
    case Algorithm::kMoead:
      return RunMoead();
    case Algorithm::kRandom:
      return RunRandom();
    case Algorithm::kGreedy:
      return ScoreList(GreedyPlans(genome_, WithExactPair(options_.sensitivities), cost_),
                       "plans of the greedy descent");
    case Algorithm::kIlp:
      if (layer_losses_.empty()) {
        throw Error("searching: found no layer losses, expected them for the algorithm ilp");
      }
      return ScoreList(AdditiveFront(genome_, layer_losses_, cost_),
                       "plans of the integer program");
  }
}

}  // namespace kvtune
