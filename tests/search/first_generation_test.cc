#include "search/first_generation.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <set>

#include "tests/support/test_data.h"

namespace kvtune {
namespace {

using ::testing::SizeIs;

const std::vector<PrecisionPair> kFiveSizes = {kKV8, kK8V4, kKV4, kK4V2, kKV2};

Genome GenomeOf(size_t groups) {
  LayerGroups layers;
  for (size_t i = 0; i < groups; ++i) layers.groups.push_back({{i}, kFiveSizes});
  return Genome(layers);
}

TEST(FirstGeneration, SeedsComeFirstAndOnce) {
  const PrecisionPlan eight = PrecisionPlan::Uniform(kKV8, 6);
  const PrecisionPlan two = PrecisionPlan::Uniform(kKV2, 6);
  const Genome genome = GenomeOf(6);
  const std::vector<Genes> generation = FirstGeneration(genome, std::vector{two, eight, two}, 8, 1);
  ASSERT_THAT(generation, SizeIs(8));
  EXPECT_EQ(genome.Decode(generation[0]), two);
  EXPECT_EQ(genome.Decode(generation[1]), eight);
  EXPECT_THAT(std::set<Genes>(generation.begin(), generation.end()), SizeIs(8));
  EXPECT_THAT(FirstGeneration(genome, std::vector{two, eight}, 1, 1), SizeIs(1));
}

// Random plans are of every size: each gene takes all of its choices, and whole plans lie near
// either end, where genes that are drawn one by one would hardly bring them.
TEST(FirstGeneration, RandomPlansReachEveryChoiceAndBothEnds) {
  constexpr size_t kGroups = 12;
  const std::vector<Genes> generation = FirstGeneration(GenomeOf(kGroups), {}, 200, 1);
  std::vector<std::set<int>> choices(kGroups);
  std::vector<double> means;
  for (const Genes& genes : generation) {
    for (size_t gene = 0; gene < kGroups; ++gene) choices[gene].insert(genes[gene]);
    means.push_back(std::accumulate(genes.begin(), genes.end(), 0.0) / kGroups);
  }
  for (const std::set<int>& of_gene : choices) EXPECT_THAT(of_gene, SizeIs(kFiveSizes.size()));
  EXPECT_LT(*std::ranges::min_element(means), 0.5);  // of choices 0 to 4
  EXPECT_GT(*std::ranges::max_element(means), 3.5);
}

TEST(FirstGeneration, PlansRepeatOnlyWhereThereAreNoOthers) {
  const std::vector<Genes> whole = FirstGeneration(GenomeOf(1), {}, kFiveSizes.size(), 3);
  EXPECT_THAT(std::set<Genes>(whole.begin(), whole.end()), SizeIs(kFiveSizes.size()));
  const std::vector<Genes> more = FirstGeneration(GenomeOf(1), {}, 9, 3);
  EXPECT_THAT(more, SizeIs(9));
  EXPECT_THAT(std::set<Genes>(more.begin(), more.end()), SizeIs(kFiveSizes.size()));
}

}  // namespace
}  // namespace kvtune
