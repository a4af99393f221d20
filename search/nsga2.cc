#include "search/nsga2.h"

#include <algorithm>
#include <cmath>
#include <pagmo/algorithm.hpp>
#include <pagmo/algorithms/nsga2.hpp>
#include <pagmo/batch_evaluators/member_bfe.hpp>
#include <pagmo/bfe.hpp>
#include <pagmo/population.hpp>
#include <pagmo/problem.hpp>
#include <pagmo/threading.hpp>
#include <utility>

namespace kvtune {
namespace {

// An exception that is thrown through pagmo2's evolve, which cannot be left early in any other way.
struct ScorerStopped {};

// The search as a problem of pagmo2. pagmo2 copies problems freely, so this holds shared state
// only.
class PlanProblem {
 public:
  PlanProblem() = default;  // pagmo2 requires it
  PlanProblem(std::vector<int> choices, size_t objective_count,
              std::shared_ptr<const ScoreGeneration> score)
      : choices_(std::move(choices)), objective_count_(objective_count), score_(std::move(score)) {}

  pagmo::vector_double fitness(const pagmo::vector_double& genes) const {
    return batch_fitness(genes);
  }

  // All individuals stand one after the other in one vector, and so do the objectives that are
  // returned.
  pagmo::vector_double batch_fitness(const pagmo::vector_double& individuals) const {
    std::vector<Genes> generation;
    for (size_t begin = 0; begin < individuals.size(); begin += choices_.size()) {
      Genes genes;
      for (size_t i = 0; i < choices_.size(); ++i) {
        genes.push_back(static_cast<int>(std::lround(individuals[begin + i])));
      }
      generation.push_back(std::move(genes));
    }
    const std::vector<Objectives> objectives = (*score_)(generation);
    if (objectives.size() < generation.size()) throw ScorerStopped();
    pagmo::vector_double values;
    for (const Objectives& of_plan : objectives) {
      const std::vector<double> of_one = ValuesOf(of_plan);
      values.insert(values.end(), of_one.begin(), of_one.end());
    }
    return values;
  }

  std::pair<pagmo::vector_double, pagmo::vector_double> get_bounds() const {
    pagmo::vector_double upper;
    for (const int choices : choices_) upper.push_back(choices - 1);
    return {pagmo::vector_double(choices_.size(), 0), upper};
  }
  pagmo::vector_double::size_type get_nobj() const { return objective_count_; }
  pagmo::vector_double::size_type get_nix() const { return choices_.size(); }
  // The scorer runs a model, so only one thread may call it.
  pagmo::thread_safety get_thread_safety() const { return pagmo::thread_safety::none; }

 private:
  std::vector<int> choices_ = {2};
  size_t objective_count_ = 2;
  std::shared_ptr<const ScoreGeneration> score_;
};

pagmo::algorithm MakeAlgorithm(const Nsga2Options& options) {
  // The distribution indices are pagmo2's defaults. They affect real-valued genes only, and ours
  // are integers.
  constexpr double kCrossoverIndex = 10, kMutationIndex = 50;
  pagmo::nsga2 nsga2(1, options.crossover_probability, kCrossoverIndex,
                     options.mutation_probability, kMutationIndex,
                     static_cast<unsigned>(options.seed));
  nsga2.set_bfe(pagmo::bfe{pagmo::member_bfe{}});
  return pagmo::algorithm(std::move(nsga2));
}

}  // namespace

int RoundUpPopulation(int wanted) { return std::max(8, (wanted + 3) / 4 * 4); }

struct Nsga2::State {
  pagmo::algorithm algorithm;  // carries its random engine from one generation to the next
  pagmo::population population;
};

Nsga2::Nsga2(const std::vector<int>& choices, std::span<const Genes> first_generation,
             std::span<const Objectives> objectives, ScoreGeneration score,
             const Nsga2Options& options) {
  const pagmo::problem problem(
      PlanProblem(choices, ValuesOf(objectives.front()).size(),
                  std::make_shared<const ScoreGeneration>(std::move(score))));
  pagmo::population population(problem, 0, static_cast<unsigned>(options.seed));
  for (size_t i = 0; i < first_generation.size(); ++i) {
    population.push_back(
        pagmo::vector_double(first_generation[i].begin(), first_generation[i].end()),
        ValuesOf(objectives[i]));
  }
  state_ = std::make_unique<State>(State{MakeAlgorithm(options), std::move(population)});
}

Nsga2::~Nsga2() = default;

bool Nsga2::Evolve() {
  try {
    state_->population = state_->algorithm.evolve(state_->population);
    return true;
  } catch (const ScorerStopped&) {
    return false;
  }
}

}  // namespace kvtune
