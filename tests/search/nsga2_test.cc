#include "search/nsga2.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace kvtune {
namespace {

using ::testing::Each;
using ::testing::SizeIs;

TEST(Nsga2, PopulationIsRoundedUpToWhatPagmoTakes) {
  EXPECT_EQ(RoundUpPopulation(1), 8);
  EXPECT_EQ(RoundUpPopulation(8), 8);
  EXPECT_EQ(RoundUpPopulation(9), 12);
  EXPECT_EQ(RoundUpPopulation(24), 24);
}

// Two objectives that pull every gene to opposite ends.
std::vector<Objectives> Score(std::span<const Genes> generation) {
  std::vector<Objectives> objectives;
  for (const Genes& genes : generation) {
    Objectives sums;
    for (const int gene : genes) {
      sums.loss += gene;
      sums.bytes -= gene;
    }
    objectives.push_back(sums);
  }
  return objectives;
}

const std::vector<int> kGeneChoices = {3, 2, 5};
const std::vector<Genes> kFirstGenes = {{0, 0, 0}, {1, 1, 1}, {2, 1, 2}, {0, 1, 3},
                                        {1, 0, 4}, {2, 0, 1}, {1, 1, 0}, {0, 0, 2}};

std::vector<std::vector<Genes>> Generations(const Nsga2Options& options, int count) {
  std::vector<std::vector<Genes>> asked;
  Nsga2 nsga2(
      kGeneChoices, kFirstGenes, Score(kFirstGenes),
      [&](std::span<const Genes> generation) {
        asked.emplace_back(generation.begin(), generation.end());
        return Score(generation);
      },
      options);
  for (int i = 0; i < count; ++i) EXPECT_TRUE(nsga2.Evolve());
  return asked;
}

TEST(Nsga2, GenerationIsOneCallOfGenesInRange) {
  Nsga2Options options;
  options.mutation_probability = 0.5;
  const auto generations = Generations(options, 6);
  ASSERT_THAT(generations, SizeIs(6));
  EXPECT_THAT(generations, Each(SizeIs(kFirstGenes.size())));
  for (const auto& generation : generations) {
    for (const Genes& genes : generation) {
      ASSERT_EQ(genes.size(), kGeneChoices.size());
      for (size_t i = 0; i < genes.size(); ++i) {
        EXPECT_GE(genes[i], 0);
        EXPECT_LT(genes[i], kGeneChoices[i]);
      }
    }
  }
}

TEST(Nsga2, SameSeedBreedsTheSameGenerations) {
  Nsga2Options options;
  options.seed = 5;
  const auto first = Generations(options, 5);
  EXPECT_EQ(Generations(options, 5), first);
  options.seed = 6;
  EXPECT_NE(Generations(options, 5), first);
}

TEST(Nsga2, ScorerThatStopsEndsTheEvolution) {
  int calls = 0;
  Nsga2 nsga2(kGeneChoices, kFirstGenes, Score(kFirstGenes),
              [&](std::span<const Genes> generation) {
                return Score(++calls == 2 ? generation.first(3) : generation);
              },
              {});
  EXPECT_TRUE(nsga2.Evolve());
  EXPECT_FALSE(nsga2.Evolve());
}

TEST(Nsga2, ErrorsOfTheScorerPassThrough) {
  Nsga2 nsga2(kGeneChoices, kFirstGenes, Score(kFirstGenes),
              [](std::span<const Genes>) -> std::vector<Objectives> {
                throw std::runtime_error("device lost");
              },
              {});
  EXPECT_THROW(nsga2.Evolve(), std::runtime_error);
}

}  // namespace
}  // namespace kvtune
