#include "search/genome.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>

#include "lib/base/random.h"
#include "tests/support/test_data.h"

namespace kvtune {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

// Layers 0 and 2 together, layer 1 without a choice, layer 3 alone.
LayerGroups SmallGroups() {
  LayerGroups groups;
  groups.groups = {{{0, 2}, {kKV8, kKV4, kKV2}}, {{1}, {kKV8}}, {{3}, {kK8V4, kK4V2}}};
  return groups;
}

TEST(Genome, GroupsWithOneCandidateHaveNoGene) {
  const Genome genome(SmallGroups());
  EXPECT_EQ(genome.layer_count(), 4u);
  EXPECT_THAT(genome.choices(), ElementsAre(3, 2));
  EXPECT_EQ(genome.space_size(), 6);
  EXPECT_THAT(genome.Decode(Genes{2, 1}).layers, ElementsAre(kKV2, kKV8, kKV2, kK4V2));
}

TEST(Genome, NoChoiceAtAllIsOnePlan) {
  LayerGroups groups;
  groups.groups = {{{0}, {kKV8}}, {{1}, {kKV4}}};
  const Genome genome(groups);
  EXPECT_EQ(genome.gene_count(), 0u);
  EXPECT_EQ(genome.space_size(), 1);
  EXPECT_THAT(genome.Decode({}).layers, ElementsAre(kKV8, kKV4));
  EXPECT_THAT(genome.Project(PrecisionPlan::Uniform(kKV2, 2)), IsEmpty());
}

TEST(Genome, SpaceSizeSaturates) {
  LayerGroups groups;
  for (size_t i = 0; i < 80; ++i) groups.groups.push_back({{i}, {kKV8, kKV4}});
  EXPECT_EQ(Genome(groups).space_size(), INT64_MAX);
}

TEST(Genome, NextVisitsEveryPlanOnce) {
  const Genome genome(SmallGroups());
  std::vector<Genes> seen;
  Genes genes(genome.gene_count(), 0);
  do {
    seen.push_back(genes);
  } while (genome.Next(genes));
  EXPECT_THAT(seen, ElementsAre(Genes{0, 0}, Genes{0, 1}, Genes{1, 0}, Genes{1, 1}, Genes{2, 0},
                                Genes{2, 1}));
}

TEST(Genome, ProjectionTakesTheNearestBits) {
  const Genome genome(SmallGroups());
  EXPECT_THAT(genome.Project(PrecisionPlan::Uniform(kKV8, 4)), ElementsAre(0, 0));
  EXPECT_THAT(genome.Project(PrecisionPlan::Uniform(kKV4, 4)), ElementsAre(1, 1));
  EXPECT_THAT(genome.Project(PrecisionPlan::Uniform(kExactPair, 4)), ElementsAre(0, 0));
  // Layers of one group that want opposite ends meet in the middle.
  EXPECT_EQ(genome.Project({{kKV8, kKV8, kKV2, kKV8}})[0], 1);
}

TEST(Genome, EqualBitsPreferTheSameFormats) {
  LayerGroups groups;
  groups.groups = {{{0}, {kKiviKV4, kKV4}}};
  const Genome genome(groups);
  EXPECT_THAT(genome.Project(PrecisionPlan::Uniform(kKV4, 1)), ElementsAre(1));
  EXPECT_THAT(genome.Project(PrecisionPlan::Uniform(kKiviKV4, 1)), ElementsAre(0));
}

TEST(Genome, PlansOfTheSpaceKeepTheirGenes) {
  for (uint64_t seed = 0; seed < 50; ++seed) {
    Random random(seed);
    LayerGroups groups;
    size_t layer = 0;
    for (int group = 0; group < 6; ++group) {
      LayerGroup made;
      const uint64_t size = 1 + random.Below(3);
      for (uint64_t i = 0; i < size; ++i) made.layers.push_back(layer++);
      std::vector<PrecisionPair> pairs = NinePairs();
      random.Shuffle(std::span(pairs));
      pairs.resize(1 + random.Below(5));
      made.candidates = pairs;
      groups.groups.push_back(made);
    }
    const Genome genome(groups);
    Genes genes;
    for (const int choices : genome.choices()) {
      genes.push_back(static_cast<int>(random.Below(static_cast<uint64_t>(choices))));
    }
    EXPECT_EQ(genome.Project(genome.Decode(genes)), genes);
  }
}

TEST(GenomeShape, ExactLayersJoinTheCandidates) {
  std::vector<PrecisionPair> pairs = NinePairs();
  pairs.insert(pairs.begin(), kExactPair);
  const Genome genome(SmallGroups(), {ShapeKind::kAnyPair, pairs});
  EXPECT_THAT(genome.choices(), ElementsAre(4, 2, 3));
  EXPECT_TRUE(genome.Decode(Genes{0, 0, 0}).is_exact());
  EXPECT_THAT(genome.Decode(Genes{3, 1, 0}).layers, ElementsAre(kKV2, kKV8, kKV2, kExactPair));
}

TEST(GenomeShape, OnePairIsOneGene) {
  const Genome genome(SmallGroups(), {ShapeKind::kOnePair, {kExactPair, kKV8, kK8V4, kK8V2, kKV4}});
  EXPECT_THAT(genome.choices(), ElementsAre(3));  // K8V2 was pruned everywhere
  EXPECT_THAT(genome.Decode(Genes{1}).layers, ElementsAre(kK8V4, kK8V4, kK8V4, kK8V4));
}

TEST(GenomeShape, ExactGroupsAreHonoured) {
  const Genome genome(SmallGroups(), {ShapeKind::kOnePairAndExact, {kKV8, kKV4}});
  EXPECT_THAT(genome.choices(), ElementsAre(2, 2, 2, 2));
  EXPECT_EQ(genome.leading_genes(), 1u);
  EXPECT_THAT(genome.Decode(Genes{1, 0, 1, 1}).layers,
              ElementsAre(kExactPair, kKV4, kExactPair, kKV4));
  EXPECT_THAT(genome.Project({{kExactPair, kKV4, kExactPair, kKV2}}), ElementsAre(1, 0, 1, 1));
}

TEST(GenomeShape, EndsStayExactWhateverTheirGroupSays) {
  const Genome genome(SmallGroups(), {ShapeKind::kOnePairAndExact, {kKV8, kKV4}, {kKV4}, 1});
  EXPECT_THAT(genome.Decode(Genes{0, 1, 1, 1}).layers, ElementsAre(kKV8, kKV8, kKV8, kKV8));
  EXPECT_THAT(genome.Decode(Genes{1, 1, 1, 1}).layers,
              ElementsAre(kExactPair, kKV4, kKV4, kExactPair));
  EXPECT_THAT(genome.Project({{kExactPair, kKV4, kKV4, kExactPair}}), ElementsAre(1, 1, 1, 1));
}

TEST(GenomeShape, RunsAreFormatsAndCounts) {
  LayerGroups groups;
  groups.groups = {{{0, 1, 2, 3}, {kKV8, kK4V8}}};  // one value format: no genes
  const Genome genome(groups, {ShapeKind::kRuns, {kKV8, kK4V8}});
  EXPECT_THAT(genome.choices(), ElementsAre(2, 2, 2, 5, 5));  // middle, first, last, counts
  EXPECT_THAT(genome.Decode(Genes{1, 0, 0, 1, 2}).layers, ElementsAre(kKV8, kK4V8, kKV8, kKV8));
  // The first run goes before the last where they meet.
  EXPECT_THAT(genome.Decode(Genes{1, 1, 0, 3, 4}).layers, ElementsAre(kK4V8, kK4V8, kK4V8, kKV8));
}

TEST(GenomeShape, DecodesOnlyAllowedPlansAndProjectsThemOntoThemselves) {
  std::vector<PrecisionPair> nine_and_exact = NinePairs();
  nine_and_exact.insert(nine_and_exact.begin(), kExactPair);
  const std::vector<PlanShape> shapes = {
      {ShapeKind::kAnyPair, nine_and_exact},
      {ShapeKind::kOnePair, nine_and_exact},
      {ShapeKind::kOnePairAndExact, NinePairs()},
      {ShapeKind::kOnePairAndExact, NinePairs(), {kKV4, kKV2}, 1},
      {ShapeKind::kRuns, NinePairs()}};
  Random random(5);
  for (const PlanShape& shape : shapes) {
    const Genome genome(SmallGroups(), shape);
    for (int trial = 0; trial < 200; ++trial) {
      Genes genes;
      for (const int choices : genome.choices()) {
        genes.push_back(static_cast<int>(random.Below(static_cast<uint64_t>(choices))));
      }
      const PrecisionPlan plan = genome.Decode(genes);
      EXPECT_EQ(WhyNot(shape, plan), std::nullopt) << PlanSpec(plan);
      EXPECT_EQ(genome.Decode(genome.Project(plan)), plan) << PlanSpec(plan);
    }
  }
}

}  // namespace
}  // namespace kvtune
