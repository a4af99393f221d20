#include "search/moead.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <pagmo/algorithm.hpp>
#include <pagmo/algorithms/moead.hpp>
#include <pagmo/population.hpp>
#include <pagmo/problem.hpp>
#include <set>
#include <thread>

namespace kvtune {
namespace {

const std::vector<int> kChoices = {3, 2, 5};
const std::vector<Genes> kFirst = {{0, 0, 0}, {1, 1, 1}, {2, 1, 2}, {0, 1, 3},
                                   {1, 0, 4}, {2, 0, 1}, {1, 1, 0}, {0, 0, 2}};

// Two objectives that pull every gene to opposite ends, scaled to 0 to 1.
Objectives ScoreOf(const Genes& genes) {
  Objectives sums{0, 1};
  for (const int gene : genes) {
    sums.loss += gene / 7.0;
    sums.bytes -= gene / 7.0;
  }
  return sums;
}

std::vector<Objectives> ScoresOf(const std::vector<Genes>& generation) {
  std::vector<Objectives> scores;
  for (const Genes& genes : generation) scores.push_back(ScoreOf(genes));
  return scores;
}

// All genes that `count` generations ask for.
std::vector<Genes> Asked(const std::vector<Genes>& first, int count, uint64_t seed = 1) {
  std::vector<Genes> asked;
  Moead moead(
      kChoices, first, ScoresOf(first),
      [&](const Genes& genes, Objectives& answer) {
        asked.push_back(genes);
        answer = ScoreOf(genes);
        return true;
      },
      seed);
  for (int i = 0; i < count; ++i) EXPECT_TRUE(moead.Evolve());
  return asked;
}

TEST(Moead, AGenerationAsksForAsManyPlansAsThePopulationHas) {
  EXPECT_EQ(Asked(kFirst, 3).size(), 3 * kFirst.size());
}

// The same objectives as a problem of pagmo2's own, which keeps what it was asked for.
struct PagmoProblem {
  pagmo::vector_double fitness(const pagmo::vector_double& numbers) const {
    Genes genes;
    for (size_t i = 0; i < kChoices.size(); ++i) {
      genes.push_back(std::min(static_cast<int>(numbers[i]), kChoices[i] - 1));
    }
    if (asked != nullptr) asked->push_back(genes);
    const Objectives objectives = ScoreOf(genes);
    return {objectives.loss, objectives.bytes};
  }
  std::pair<pagmo::vector_double, pagmo::vector_double> get_bounds() const {
    return {pagmo::vector_double(kChoices.size(), 0),
            pagmo::vector_double(kChoices.begin(), kChoices.end())};
  }
  pagmo::vector_double::size_type get_nobj() const { return 2; }
  pagmo::thread_safety get_thread_safety() const { return pagmo::thread_safety::none; }

  std::vector<Genes>* asked = nullptr;
};

TEST(Moead, IsPagmosWithAllItsDefaults) {
  // So many plans that the neighbours of the default are not limited.
  std::vector<Genes> first;
  for (int i = 0; i < 30; ++i) first.push_back({i % 3, i / 3 % 2, i / 6});
  std::vector<Genes> asked;
  pagmo::population population(pagmo::problem(PagmoProblem{&asked}), 0, 7);
  for (const Genes& genes : first) {
    pagmo::vector_double numbers;
    for (const int gene : genes) numbers.push_back(gene + 0.5);
    const Objectives objectives = ScoreOf(genes);
    population.push_back(numbers, {objectives.loss, objectives.bytes});
  }
  pagmo::moead defaults(1);
  defaults.set_seed(7);
  pagmo::algorithm algorithm(defaults);
  constexpr int kGenerations = 6;
  for (int i = 0; i < kGenerations; ++i) population = algorithm.evolve(population);
  EXPECT_EQ(Asked(first, kGenerations, 7), asked);
  EXPECT_EQ(asked.size(), kGenerations * first.size());
}

TEST(Moead, GenesStayInRangeAndReachEveryChoice) {
  std::vector<std::set<int>> seen(kChoices.size());
  for (uint64_t seed = 1; seed <= 10; ++seed) {
    for (const Genes& genes : Asked(kFirst, 10, seed)) {
      ASSERT_EQ(genes.size(), kChoices.size());
      for (size_t i = 0; i < genes.size(); ++i) {
        EXPECT_GE(genes[i], 0);
        EXPECT_LT(genes[i], kChoices[i]);
        seen[i].insert(genes[i]);
      }
    }
  }
  for (size_t i = 0; i < kChoices.size(); ++i) {
    EXPECT_EQ(seen[i].size(), static_cast<size_t>(kChoices[i])) << "gene " << i;
  }
}

// A gene is the middle of its choice's range, so that a child of equal parents that no mutation
// changes has their genes.
TEST(Moead, ChildrenOfEqualParentsMostlyKeepTheirGenes) {
  const Genes parent = {1, 1, 3};
  size_t kept = 0, total = 0;
  for (const Genes& genes : Asked(std::vector<Genes>(8, parent), 1)) {
    for (size_t i = 0; i < genes.size(); ++i) {
      ++total;
      if (genes[i] == parent[i]) ++kept;
    }
  }
  EXPECT_GT(kept, total / 2);
}

TEST(Moead, TheSeedIsTheSearch) {
  EXPECT_EQ(Asked(kFirst, 4, 5), Asked(kFirst, 4, 5));
  EXPECT_NE(Asked(kFirst, 4, 5), Asked(kFirst, 4, 6));
}

TEST(Moead, ScorerThatStopsEndsTheEvolution) {
  int calls = 0;
  Moead moead(
      kChoices, kFirst, ScoresOf(kFirst),
      [&](const Genes& genes, Objectives& answer) {
        answer = ScoreOf(genes);
        return ++calls <= 11;
      },
      1);
  EXPECT_TRUE(moead.Evolve());
  EXPECT_FALSE(moead.Evolve());
  EXPECT_EQ(calls, 12);
}

TEST(Moead, ErrorsOfTheScorerPassThrough) {
  Moead moead(
      kChoices, kFirst, ScoresOf(kFirst),
      [](const Genes&, Objectives&) -> bool { throw std::runtime_error("device lost"); }, 1);
  EXPECT_THROW(moead.Evolve(), std::runtime_error);
}

// The scorer runs a model, which only one thread may use.
TEST(Moead, TheScorerIsCalledOnTheCallersThread) {
  const auto caller = std::this_thread::get_id();
  Moead moead(
      kChoices, kFirst, ScoresOf(kFirst),
      [&](const Genes& genes, Objectives& answer) {
        EXPECT_EQ(std::this_thread::get_id(), caller);
        answer = ScoreOf(genes);
        return true;
      },
      1);
  EXPECT_TRUE(moead.Evolve());
}

}  // namespace
}  // namespace kvtune
