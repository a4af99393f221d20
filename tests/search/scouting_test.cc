#include "search/scouting.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "tests/support/fake_evaluator.h"
#include "tests/support/test_data.h"

namespace kvtune {
namespace {

using ::testing::DoubleNear;
using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::SizeIs;

// A table without losses. The errors of keys and values are those of their bits.
SensitivityTable TableOfSides(const std::vector<PrecisionPair>& pairs, size_t layers) {
  SensitivityTable table =
      TableOf(pairs, std::vector(layers, std::vector<double>(pairs.size(), 0)));
  for (LayerSensitivity& layer : table.layers) {
    for (size_t i = 0; i < pairs.size(); ++i) {
      layer.errors[i].e_k = std::exp2(-FormatOf(pairs[i].key).bits);
      layer.errors[i].e_v = std::exp2(-FormatOf(pairs[i].value).bits);
    }
  }
  return table;
}

size_t PlansOf(const FakeEvaluator& scout) {
  size_t plans = 0;
  for (const auto& batch : scout.batches()) plans += batch.size();
  return plans;
}

TEST(Scouting, MeasuresWhatTheTableLacks) {
  SensitivityTable table = TableOf({kKV8, kKV4}, {{0, 0}, {0, 0}, {0, 0}});
  table.layers[1].errors[0].kl = 0.25;
  table.layers[1].errors[1].kl = 0;
  FakeEvaluator scout({1, 1, 10});
  EvaluationCache cache(scout);
  const LayerLosses losses = MeasureLayerLosses(table, cache);
  EXPECT_EQ(losses.pairs, table.pairs);
  EXPECT_THAT(
      losses.losses,
      ElementsAre(ElementsAre(FakePairError(kKV8), FakePairError(kKV4)), ElementsAre(0.25, 1e-9),
                  ElementsAre(10 * FakePairError(kKV8), 10 * FakePairError(kKV4))));
  ASSERT_THAT(scout.batches(), SizeIs(1));
  ASSERT_THAT(scout.batches()[0], SizeIs(4));
  EXPECT_THAT(scout.batches()[0][1].layers, ElementsAre(kKV4, kExactPair, kExactPair));
}

TEST(Scouting, MeasuresThirtyTwoPlansAtATimeAndMayBeStoppedBetween) {
  const SensitivityTable table = TableOf(NinePairs(), std::vector(5, std::vector<double>(9, 0)));
  FakeEvaluator scout({1, 2, 3, 4, 5});
  EvaluationCache cache(scout);
  int asked = 0;
  EXPECT_TRUE(MeasureLayerLosses(table, cache, [&] { return ++asked == 2; }).empty());
  ASSERT_THAT(scout.batches(), SizeIs(1));
  EXPECT_THAT(scout.batches()[0], SizeIs(32));
  const LayerLosses losses = MeasureLayerLosses(table, cache, [] { return false; });
  ASSERT_THAT(scout.batches(), SizeIs(2));
  EXPECT_THAT(scout.batches()[1], SizeIs(5 * 9 - 32));
  for (size_t layer = 0; layer < 5; ++layer) {
    for (size_t i = 0; i < 9; ++i) {
      EXPECT_DOUBLE_EQ(losses.losses[layer][i],
                       static_cast<double>(layer + 1) * FakePairError(NinePairs()[i]));
    }
  }
}

// Of nine pairs, three key formats with 8-bit values and three value formats with 8-bit keys are
// five, in whatever order. What the fake evaluator makes of a pair is the sum of what it makes of
// its sides.
TEST(Scouting, OfManyPlansOnlyThoseOfOneSideAreScored) {
  constexpr size_t kLayers = 29;
  std::vector<PrecisionPair> pairs = NinePairs();
  std::ranges::reverse(pairs);
  std::vector<double> weights;
  for (size_t layer = 0; layer < kLayers; ++layer)
    weights.push_back(static_cast<double>(layer + 1));
  FakeEvaluator scout(weights);
  EvaluationCache cache(scout);
  const LayerLosses losses = MeasureLayerLosses(TableOfSides(pairs, kLayers), cache);
  EXPECT_EQ(PlansOf(scout), kLayers * 5);
  EXPECT_EQ(ScoutedPlanCount(kLayers, pairs), kLayers * 5);
  ASSERT_THAT(losses.losses, SizeIs(kLayers));
  for (size_t layer = 0; layer < kLayers; ++layer) {
    for (size_t i = 0; i < 9; ++i) {
      EXPECT_THAT(losses.losses[layer][i],
                  DoubleNear(std::max(weights[layer] * FakePairError(pairs[i]), 1e-9), 1e-12));
    }
  }
}

TEST(Scouting, UpToTheLimitAllAreScored) {
  const std::vector<PrecisionPair> pairs = {kKV8, kK8V4, kK4V8, kKV4};
  const auto plans_of = [&](size_t layers) {
    FakeEvaluator scout(std::vector<double>(layers, 1));
    EvaluationCache cache(scout);
    MeasureLayerLosses(TableOfSides(pairs, layers), cache);
    EXPECT_EQ(PlansOf(scout), ScoutedPlanCount(layers, pairs));
    return PlansOf(scout);
  };
  static_assert(kMostScoutedPlans == 64 * 4);
  EXPECT_EQ(plans_of(64), 64 * 4);
  EXPECT_EQ(plans_of(65), 65 * 3);
}

// Where an engine has 4-bit keys with 8-bit values and the other way round, but not 8 bits for
// both, what 8 bits lose counts twice.
TEST(Scouting, SidesWithoutACommonBaseAreAdded) {
  const std::vector<PrecisionPair> pairs = {kK8V4, kK4V8, kKV4};
  FakeEvaluator scout(std::vector<double>(90, 1));
  EvaluationCache cache(scout);
  const LayerLosses losses = MeasureLayerLosses(TableOfSides(pairs, 90), cache);
  EXPECT_EQ(PlansOf(scout), 90 * 2);
  const double sum = FakePairError(kK8V4) + FakePairError(kK4V8);
  EXPECT_THAT(losses.losses, Each(ElementsAre(FakePairError(kK8V4), FakePairError(kK4V8),
                                              DoubleNear(sum, 1e-15))));
}

// Measured losses are noisy: here 8 bits seem to lose more than 4 on either side.
TEST(Scouting, APairLosesNoLessThanItsSides) {
  SensitivityTable table = TableOfSides({kKV8, kK8V4, kK4V8, kKV4}, 70);
  for (LayerSensitivity& layer : table.layers) {
    layer.errors[0].kl = 1;
    layer.errors[1].kl = 0.25;
    layer.errors[2].kl = 0.5;
  }
  FakeEvaluator scout(std::vector<double>(70, 1));
  EvaluationCache cache(scout);
  const LayerLosses losses = MeasureLayerLosses(table, cache);
  EXPECT_EQ(PlansOf(scout), 0U);
  EXPECT_THAT(losses.losses, Each(ElementsAre(1, 0.25, 0.5, 0.5)));
}

}  // namespace
}  // namespace kvtune
