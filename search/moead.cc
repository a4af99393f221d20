#include "search/moead.h"

#include <algorithm>
#include <cmath>
#include <pagmo/algorithm.hpp>
#include <pagmo/algorithms/moead.hpp>
#include <pagmo/population.hpp>
#include <pagmo/problem.hpp>
#include <pagmo/threading.hpp>
#include <utility>

namespace kvtune {
namespace {

// An exception that is thrown through pagmo2's evolve, which cannot be left early in any other way.
struct ScorerStopped {};

class PlanProblem {
 public:
  PlanProblem() = default;  // pagmo2 requires it
  PlanProblem(std::vector<int> choices, size_t objective_count,
              std::shared_ptr<const Moead::ScoreOne> score)
      : choices_(std::move(choices)), objective_count_(objective_count), score_(std::move(score)) {}

  pagmo::vector_double fitness(const pagmo::vector_double& numbers) const {
    Genes genes;
    for (size_t i = 0; i < choices_.size(); ++i) {
      genes.push_back(std::clamp(static_cast<int>(std::floor(numbers[i])), 0, choices_[i] - 1));
    }
    Objectives objectives;
    if (!(*score_)(genes, objectives)) throw ScorerStopped();
    return ValuesOf(objectives);
  }

  std::pair<pagmo::vector_double, pagmo::vector_double> get_bounds() const {
    return {pagmo::vector_double(choices_.size(), 0),
            pagmo::vector_double(choices_.begin(), choices_.end())};
  }
  pagmo::vector_double::size_type get_nobj() const { return objective_count_; }
  pagmo::thread_safety get_thread_safety() const { return pagmo::thread_safety::none; }

 private:
  std::vector<int> choices_ = {2};
  size_t objective_count_ = 2;
  std::shared_ptr<const Moead::ScoreOne> score_;
};

pagmo::algorithm MakeAlgorithm(size_t population, size_t objective_count, uint64_t seed) {
  // All arguments are pagmo2's defaults, except the number of generations, the number of
  // neighbours, which a small population limits, and the weights of three objectives: a grid of
  // them exists for few sizes of a population only.
  constexpr size_t kNeighbours = 20;
  const char* weights = objective_count == 2 ? "grid" : "low discrepancy";
  return pagmo::algorithm(pagmo::moead(1, weights, "tchebycheff",
                                       std::min(kNeighbours, population - 1), 1.0, 0.5, 20.0, 0.9,
                                       2, true, static_cast<unsigned>(seed)));
}

}  // namespace

struct Moead::State {
  pagmo::algorithm algorithm;  // carries its random engine from one generation to the next
  pagmo::population population;
};

Moead::Moead(const std::vector<int>& choices, std::span<const Genes> first_generation,
             std::span<const Objectives> objectives, ScoreOne score, uint64_t seed) {
  const size_t objective_count = ValuesOf(objectives.front()).size();
  const pagmo::problem problem(
      PlanProblem(choices, objective_count, std::make_shared<const ScoreOne>(std::move(score))));
  pagmo::population population(problem, 0, static_cast<unsigned>(seed));
  for (size_t i = 0; i < first_generation.size(); ++i) {
    pagmo::vector_double numbers;
    for (const int gene : first_generation[i]) numbers.push_back(gene + 0.5);
    population.push_back(numbers, ValuesOf(objectives[i]));
  }
  state_ = std::make_unique<State>(
      State{MakeAlgorithm(first_generation.size(), objective_count, seed), std::move(population)});
}

Moead::~Moead() = default;

bool Moead::Evolve() {
  try {
    state_->population = state_->algorithm.evolve(state_->population);
    return true;
  } catch (const ScorerStopped&) {
    return false;
  }
}

}  // namespace kvtune
