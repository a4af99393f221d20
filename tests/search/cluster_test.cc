#include "search/cluster.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "lib/base/error.h"
#include "lib/base/random.h"
#include "lib/core/layer_groups.h"
#include "search/prune.h"
#include "tests/support/test_data.h"

namespace kvtune {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::StrEq;
using ::testing::ThrowsMessage;

std::vector<std::vector<size_t>> LayersOf(const LayerGroups& groups) {
  std::vector<std::vector<size_t>> layers;
  for (const LayerGroup& group : groups.groups) layers.push_back(group.layers);
  return layers;
}

using Layers = std::vector<size_t>;

CandidateSet Keeping(const SensitivityTable& table,
                     const std::vector<std::vector<PrecisionPair>>& kept) {
  CandidateSet candidates;
  candidates.run = table.run;
  for (size_t i = 0; i < kept.size(); ++i) candidates.layers.push_back({i, kept[i], {}});
  return candidates;
}

TEST(Dbscan, ChainsOfNeighboursAreOneClusterAndLonelyPointsNoise) {
  const std::vector<std::vector<double>> points = {{0.0}, {5.0}, {0.9}, {1.8}, {9.0}, {5.5}};
  EXPECT_THAT(Dbscan(points, 1.0, 2), ElementsAre(0, 1, 0, 0, kNoise, 1));
}

TEST(Dbscan, BorderPointIsReachedButDoesNotExtend) {
  // With 3 samples only 1.0 is a core point; 0.0 and 2.0 are on its border, 3.0 is beyond it.
  const std::vector<std::vector<double>> points = {{0.0}, {1.0}, {2.0}, {3.1}};
  EXPECT_THAT(Dbscan(points, 1.0, 3), ElementsAre(0, 0, 0, kNoise));
}

TEST(Dbscan, DistanceEqualToTheRadiusIsNear) {
  EXPECT_THAT(Dbscan(std::vector<std::vector<double>>{{0, 0}, {3, 4}}, 5.0, 2), ElementsAre(0, 0));
}

TEST(Cluster, LayersWithTheSameCandidatesAndNearErrorsShareAGroup) {
  const SensitivityTable table =
      TableOf({kKV8, kKV4}, {{.01, .20}, {.01, .50}, {.01, .21}, {.01, .51}, {.01, .90}});
  const std::vector<PrecisionPair> both = {kKV8, kKV4};
  const LayerGroups groups = Cluster(Keeping(table, {both, both, both, both, both}), table, {});
  EXPECT_THAT(LayersOf(groups), ElementsAre(Layers{0, 2}, Layers{1, 3}, Layers{4}));
  EXPECT_EQ(groups.groups[0].candidates, both);
  EXPECT_EQ(groups.run.layer_count(), 5);
}

TEST(Cluster, DifferentCandidatesAreNeverMixed) {
  const SensitivityTable table = TableOf({kKV8, kKV4}, {{.01, .2}, {.01, .2}, {.01, .2}});
  const LayerGroups groups =
      Cluster(Keeping(table, {{kKV8, kKV4}, {kKV8}, {kKV8, kKV4}}), table, {});
  EXPECT_THAT(LayersOf(groups), ElementsAre(Layers{0, 2}, Layers{1}));
}

TEST(Cluster, ErrorsOfDroppedPairsDoNotSeparateLayers) {
  const SensitivityTable table = TableOf({kKV8, kKV2}, {{.01, .2}, {.01, .9}});
  const LayerGroups groups = Cluster(Keeping(table, {{kKV8}, {kKV8}}), table, {});
  EXPECT_THAT(LayersOf(groups), ElementsAre(Layers{0, 1}));
}

TEST(Cluster, NoClusterIsOneGroupALayer) {
  const SensitivityTable table = TableOf({kKV8}, {{.1}, {.1}});
  ClusterOptions options;
  options.no_cluster = true;
  EXPECT_THAT(LayersOf(Cluster(Keeping(table, {{kKV8}, {kKV8}}), table, options)),
              ElementsAre(Layers{0}, Layers{1}));
}

TEST(Cluster, CapMergesTheClosestGroupsOfEqualCandidatesFirst) {
  // Layer 3 is nearest to layer 2 in errors, but keeps other pairs.
  const SensitivityTable table =
      TableOf({kKV8, kKV4, kKV2}, {{.01, .1, .9}, {.01, .3, .9}, {.01, .8, .9}, {.01, .8, .9}});
  const std::vector<PrecisionPair> two = {kKV8, kKV4}, three = {kKV8, kKV4, kKV2};
  const CandidateSet candidates = Keeping(table, {two, two, two, three});
  ClusterOptions options;
  options.max_groups = 3;
  EXPECT_THAT(LayersOf(Cluster(candidates, table, options)),
              ElementsAre(Layers{0, 1}, Layers{2}, Layers{3}));
  options.max_groups = 2;
  EXPECT_THAT(LayersOf(Cluster(candidates, table, options)),
              ElementsAre(Layers{0, 1, 2}, Layers{3}));
  options.max_groups = 1;
  const LayerGroups one = Cluster(candidates, table, options);
  EXPECT_THAT(LayersOf(one), ElementsAre(Layers{0, 1, 2, 3}));
  EXPECT_EQ(one.groups[0].candidates, two);
}

TEST(Cluster, OfEquallyCloseGroupsTheFirstOnesMerge) {
  const SensitivityTable table =
      TableOf({kKV8, kKV4}, {{.01, .2}, {.01, .2}, {.01, .7}, {.01, .7}});
  const std::vector<PrecisionPair> both = {kKV8, kKV4};
  ClusterOptions options;
  options.no_cluster = true;
  options.max_groups = 3;
  EXPECT_THAT(LayersOf(Cluster(Keeping(table, {both, both, both, both}), table, options)),
              ElementsAre(Layers{0, 1}, Layers{2}, Layers{3}));
}

TEST(Cluster, CapWithNothingInCommonIsAnError) {
  const SensitivityTable table = TableOf({kKV8, kKV4}, {{.1, .2}, {.1, .2}});
  ClusterOptions options;
  options.max_groups = 1;
  EXPECT_THAT(
      [&] {
        Cluster(Keeping(table, {{kKV8}, {kKV4}}), table, options);
      },
      ThrowsMessage<Error>(StrEq("clustering: found no pair in common between any of 2 groups, "
                                 "expected to reach at most 1 groups")));
}

TEST(Cluster, CandidatesOfAnotherTableAreRefused) {
  const SensitivityTable table = TableOf({kKV8}, {{.1}, {.1}});
  EXPECT_THAT([&] { Cluster(Keeping(table, {{kKV8}}), table, {}); },
              ThrowsMessage<Error>(HasSubstr("found candidates of 1 layers, expected 2")));
  EXPECT_THAT(
      [&] {
        Cluster(Keeping(table, {{kKV8}, {kKV4}}), table, {});
      },
      ThrowsMessage<Error>(HasSubstr("found the candidate KV4")));
}

TEST(Cluster, OptionsOutOfRangeAreRefused) {
  const SensitivityTable table = TableOf({kKV8}, {{.1}});
  const CandidateSet candidates = Keeping(table, {{kKV8}});
  ClusterOptions options;
  options.eps = 0;
  EXPECT_THAT([&] { Cluster(candidates, table, options); },
              ThrowsMessage<Error>(HasSubstr("found the radius 0")));
  options = {};
  options.min_samples = 0;
  EXPECT_THAT([&] { Cluster(candidates, table, options); },
              ThrowsMessage<Error>(HasSubstr("found 0 samples")));
  options = {};
  options.max_groups = -1;
  EXPECT_THAT([&] { Cluster(candidates, table, options); },
              ThrowsMessage<Error>(HasSubstr("found a cap of -1 groups")));
}

TEST(Cluster, GroupsPartitionTheLayersWithCandidatesOfAllMembers) {
  for (uint64_t seed = 0; seed < 30; ++seed) {
    Random random(seed);
    const SensitivityTable table = RandomTable(random, 12);
    PruneOptions prune;
    prune.min_pairs = 7;  // of 9, so that any two layers have some in common
    const CandidateSet candidates = Prune(table, prune);
    ClusterOptions options;
    options.eps = 0.6;
    options.max_groups = static_cast<int>(seed % 3) * 4;
    const LayerGroups groups = Cluster(candidates, table, options);
    if (options.max_groups > 0) {
      EXPECT_LE(groups.groups.size(), static_cast<size_t>(options.max_groups));
    }
    // Reading back checks the partition and the order of the groups.
    EXPECT_NO_THROW(LayerGroupsFromJson(ToJson(groups), "groups.json"));
    for (const LayerGroup& group : groups.groups) {
      for (const size_t layer : group.layers) {
        EXPECT_THAT(candidates.layers[layer].kept, ::testing::IsSupersetOf(group.candidates));
      }
    }
  }
}

}  // namespace
}  // namespace kvtune
