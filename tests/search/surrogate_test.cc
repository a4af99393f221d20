#include "search/surrogate.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "lib/base/random.h"
#include "search/additive_plans.h"
#include "search/pareto.h"
#include "tests/support/fake_evaluator.h"
#include "tests/support/test_data.h"

namespace kvtune {
namespace {

using ::testing::DoubleNear;
using ::testing::ElementsAre;
using ::testing::SizeIs;

// Losses over five orders of magnitude, as those of real models.
LayerLosses RandomLosses(Random& random, size_t layers, std::vector<PrecisionPair> pairs) {
  LayerLosses losses;
  losses.pairs = std::move(pairs);
  for (size_t layer = 0; layer < layers; ++layer) {
    losses.losses.emplace_back();
    for (size_t i = 0; i < losses.pairs.size(); ++i) {
      losses.losses.back().push_back(std::pow(10.0, -5 * random.Unit()));
    }
  }
  return losses;
}

PrecisionPlan RandomPlan(Random& random, const LayerLosses& losses) {
  PrecisionPlan plan;
  for (size_t layer = 0; layer < losses.layer_count(); ++layer) {
    plan.layers.push_back(losses.pairs[random.Below(losses.pairs.size())]);
  }
  return plan;
}

Objectives PredictedObjectives(const LayerLosses& losses, const PrecisionPlan& plan,
                               const CostFunction& cost) {
  return {PredictLoss(losses, plan), cost(plan).bytes_per_token};
}

// Layers of unequal width with scales beside the data, as whole 1024ths of a byte.
PlanCost UnevenCost(const PrecisionPlan& plan) {
  PlanCost cost;
  for (size_t layer = 0; layer < plan.layers.size(); ++layer) {
    const PrecisionPair pair = plan.layers[layer];
    cost.bytes_per_token +=
        (FormatOf(pair.key).bits * 16.53125 + FormatOf(pair.value).bits * 15.71875 + 0.25) *
        (3 + static_cast<double>(layer * layer));
  }
  return cost;
}

TEST(Surrogate, FrontIsThatOfAllPlans) {
  Random random(1);
  for (int instance = 0; instance < 20; ++instance) {
    const LayerLosses losses = RandomLosses(random, 4, {kKV8, kK8V4, kKV4, kK4V2, kK2V4, kKV2});
    const CostFunction cost = instance % 2 == 0 ? CostFunction(FakeCost) : UnevenCost;
    std::vector<Objectives> all;
    const size_t pairs = losses.pairs.size();
    for (size_t code = 0; code < pairs * pairs * pairs * pairs; ++code) {
      PrecisionPlan plan;
      for (size_t rest = code, layer = 0; layer < 4; ++layer, rest /= pairs) {
        plan.layers.push_back(losses.pairs[rest % pairs]);
      }
      all.push_back(PredictedObjectives(losses, plan, cost));
    }
    const std::vector<size_t> expected = NonDominated(all);
    const std::vector<PrecisionPlan> front = SurrogateFront(losses, cost);
    ASSERT_THAT(front, SizeIs(expected.size()));
    for (size_t i = 0; i < front.size(); ++i) {
      const Objectives found = PredictedObjectives(losses, front[i], cost);
      EXPECT_THAT(found.bytes, DoubleNear(all[expected[i]].bytes, 1e-9));
      EXPECT_THAT(found.loss, DoubleNear(all[expected[i]].loss, 1e-12));
    }
  }
}

TEST(Surrogate, FrontOfEightyLayersIsQuick) {
  Random random(2);
  const LayerLosses losses = RandomLosses(random, 80, NinePairs());
  const std::vector<PrecisionPlan> front = SurrogateFront(losses, FakeCost);
  EXPECT_GT(front.size(), 100U);
  EXPECT_LE(front.size(), 481U);
  for (size_t i = 1; i < front.size(); ++i) {
    const Objectives smaller = PredictedObjectives(losses, front[i - 1], FakeCost);
    const Objectives larger = PredictedObjectives(losses, front[i], FakeCost);
    EXPECT_LT(smaller.bytes, larger.bytes);
    EXPECT_GT(smaller.loss, larger.loss);
  }
}

TEST(Surrogate, ExactLayersLoseNothing) {
  const LayerLosses losses = {{kKV8, kKV4}, {{1, 2}, {10, 20}}};
  EXPECT_EQ(PredictLoss(losses, {{kKV4, kExactPair}}), 2);
  EXPECT_EQ(PredictLoss(losses, {{kKV4, kKV8}}), 12);
}

TEST(Surrogate, FitRecoversAdditiveLossesFromJointScores) {
  Random random(3);
  const LayerLosses truth = RandomLosses(random, 6, {kKV8, kKV4, kKV2});
  LayerLosses prior = truth;
  for (std::vector<double>& layer : prior.losses) {
    for (double& loss : layer) loss *= std::exp(3 * random.Unit() - 1.5);
  }
  std::vector<PrecisionPlan> plans = {PrecisionPlan::Uniform(kExactPair, 6)};
  std::vector<double> scores = {0};
  for (int i = 0; i < 150; ++i) {
    plans.push_back(RandomPlan(random, truth));
    scores.push_back(PredictLoss(truth, plans.back()));
  }
  const LayerLosses fitted = FitLayerLosses(prior, plans, scores);
  const auto worst_error = [&](const LayerLosses& losses) {
    Random unseen(4);
    double worst = 0;
    for (int i = 0; i < 50; ++i) {
      const PrecisionPlan plan = RandomPlan(unseen, truth);
      worst =
          std::max(worst, std::abs(std::log(PredictLoss(losses, plan) / PredictLoss(truth, plan))));
    }
    return worst;
  };
  EXPECT_GT(worst_error(prior), 0.5);
  EXPECT_LT(worst_error(fitted), 0.1);
}

// One plan that loses e^0.5 times what was expected: the fit weighs the misfit of its loss, (0.5 -
// x)^2, against a tenth of x^2, and ends at x = 0.5 / 1.1. What two layers share they share alike,
// at x = 0.5 / 1.2, since the prior counts for both.
TEST(Surrogate, FitWeighsAScoreTenTimesThePrior) {
  const LayerLosses one = {{kKV8, kKV4}, {{0.25, 0.5}}};
  for (const double ratio : {std::exp(0.5), std::exp(-0.5)}) {
    const LayerLosses fitted =
        FitLayerLosses(one, std::vector<PrecisionPlan>{{{kKV4}}}, std::vector{0.5 * ratio});
    EXPECT_NEAR(fitted.losses[0][1], 0.5 * std::pow(ratio, 1 / 1.1), 1e-12);
    EXPECT_NEAR(fitted.losses[0][0], 0.25, 1e-12);
    const LayerLosses two =
        FitLayerLosses({{kKV4}, {{0.5}, {0.5}}}, std::vector<PrecisionPlan>{{{kKV4, kKV4}}},
                       std::vector{1.0 * ratio});
    for (const std::vector<double>& layer : two.losses)
      EXPECT_NEAR(std::log(layer[0] / 0.5), std::log(ratio) / 1.2, 2e-3);
  }
}

TEST(Surrogate, FitWithoutScoresIsThePrior) {
  Random random(5);
  const LayerLosses prior = RandomLosses(random, 3, NinePairs());
  const LayerLosses fitted = FitLayerLosses(prior, {}, {});
  for (size_t layer = 0; layer < 3; ++layer) {
    for (size_t i = 0; i < 9; ++i) {
      EXPECT_NEAR(fitted.losses[layer][i], prior.losses[layer][i], 1e-12);
    }
  }
}

TEST(Surrogate, APairThatNoPlanHasChangesNothingOfTheOthers) {
  Random random(8);
  const LayerLosses prior = RandomLosses(random, 4, {kKV8, kKV4});
  std::vector<PrecisionPlan> plans;
  std::vector<double> scores;
  for (int i = 0; i < 20; ++i) {
    plans.push_back(RandomPlan(random, prior));
    scores.push_back(PredictLoss(prior, plans.back()) * std::exp(3 * random.Unit() - 1.5));
  }
  LayerLosses with = prior;
  with.pairs.push_back(kKV2);
  for (std::vector<double>& layer : with.losses) layer.push_back(0.5);
  const LayerLosses fitted = FitLayerLosses(with, plans, scores);
  const LayerLosses expected = FitLayerLosses(prior, plans, scores);
  for (size_t layer = 0; layer < 4; ++layer) {
    for (size_t i = 0; i < 2; ++i)
      EXPECT_EQ(fitted.losses[layer][i], expected.losses[layer][i]) << layer << ", " << i;
    EXPECT_NEAR(fitted.losses[layer][2], 0.5, 1e-12);
  }
}

// A loss of nothing has no logarithm.
TEST(Surrogate, APlanThatLosesNothingTellsNothing) {
  const LayerLosses prior = {{kKV8}, {{0.5}}};
  const PrecisionPlan plan{{kKV8}};
  const LayerLosses expected = FitLayerLosses(prior, std::vector{plan}, std::vector{2.0});
  EXPECT_GT(expected.losses[0][0], 1);
  EXPECT_EQ(FitLayerLosses(prior, std::vector{plan, plan}, std::vector{2.0, 0.0}).losses,
            expected.losses);
}

TEST(Surrogate, FitStaysFiniteAndPositiveWhenLossesSaturate) {
  // Any two of the layers at 2 bits lose as much as all of them.
  const LayerLosses prior = {{kKV8, kKV2}, {{1e-6, 0.4}, {1e-6, 0.4}, {1e-9, 0.4}}};
  const std::vector<PrecisionPlan> plans = {
      {{kKV2, kKV2, kKV2}}, {{kKV2, kKV2, kKV8}}, {{kKV8, kKV2, kKV2}}, {{kKV8, kKV8, kKV8}}};
  const std::vector<double> scores = {0.5, 0.5, 0.5, 1e-12};
  for (const std::vector<double>& layer : FitLayerLosses(prior, plans, scores).losses) {
    for (const double loss : layer) {
      EXPECT_GT(loss, 0);
      EXPECT_LT(loss, 0.5);
    }
  }
}

// The sum that a fit minimizes.
double Misfit(const LayerLosses& fitted, const LayerLosses& prior,
              const std::vector<PrecisionPlan>& plans, const std::vector<double>& losses) {
  constexpr double kLambda = 0.1;
  const auto square = [](double ratio) { return std::log(ratio) * std::log(ratio); };
  double sum = 0;
  for (size_t i = 0; i < plans.size(); ++i)
    sum += square(PredictLoss(fitted, plans[i]) / losses[i]);
  for (size_t layer = 0; layer < prior.layer_count(); ++layer) {
    for (size_t i = 0; i < prior.pairs.size(); ++i) {
      sum += kLambda * square(fitted.losses[layer][i] / prior.losses[layer][i]);
    }
  }
  return sum;
}

TEST(Surrogate, FitEndsWhereNoLossFitsBetterAlthoughWholeStepsGoTooFar) {
  // The first layer has to lose more for one plan and less for the other. The second matters less
  // the more it loses, which a step of Gauss and Newton does not see: it goes beyond the best
  // place.
  const LayerLosses prior = {{kKV2}, {{0.9}, {0.1}, {0.9}}};
  std::vector<PrecisionPlan> plans = {{{kKV2, kKV2, kExactPair}}, {{kKV2, kExactPair, kKV2}}};
  std::vector<double> losses = {1.0 * std::exp(7), 1.8 * std::exp(-10)};
  for (int i = 0; i < 1000; ++i) {  // so that the other two layers stay where they are
    plans.push_back({{kExactPair, kKV2, kExactPair}});
    losses.push_back(0.1);
    plans.push_back({{kExactPair, kExactPair, kKV2}});
    losses.push_back(0.9);
  }
  const LayerLosses fitted = FitLayerLosses(prior, plans, losses);
  const double best = Misfit(fitted, prior, plans, losses);
  EXPECT_LT(best, Misfit(prior, prior, plans, losses));
  for (size_t layer = 0; layer < 3; ++layer) {
    for (const double factor : {0.98, 1.02}) {
      LayerLosses other = fitted;
      other.losses[layer][0] *= factor;
      EXPECT_LT(best, Misfit(other, prior, plans, losses)) << layer << " times " << factor;
    }
  }
}

TEST(Surrogate, ThinningKeepsTheEndsAndSpreadsOverBytes) {
  std::vector<PrecisionPlan> plans;
  for (const PrecisionPair pair : {kKV2, kK4V2, kKV4, kK8V2, kK8V4, kKV8}) {
    plans.push_back({{pair}});  // nominal bits 2, 3, 4, 5, 6, 8
  }
  EXPECT_EQ(ThinOverBytes(plans, FakeCost, 6), plans);
  EXPECT_THAT(ThinOverBytes(plans, FakeCost, 3), ElementsAre(plans[0], plans[3], plans[5]));
  EXPECT_THAT(ThinOverBytes(plans, FakeCost, 2), ElementsAre(plans[0], plans[5]));
  EXPECT_THAT(ThinOverBytes(plans, FakeCost, 1), ElementsAre(plans[0]));
  EXPECT_THAT(ThinOverBytes(plans, FakeCost, 0), SizeIs(0));
}

TEST(Surrogate, ThinningTakesTheLargerOfTwoThatAreAsNearAndLeavesEnoughForTheRest) {
  const std::vector<PrecisionPlan> even = {{{kKV2}}, {{kKV4}}, {{kK8V4}}, {{kKV8}}};  // 2 to 8 bits
  EXPECT_THAT(ThinOverBytes(even, FakeCost, 3), ElementsAre(even[0], even[2], even[3]));
  // Of three plans of 5 bits the last would be taken first, which would leave one for two more.
  const std::vector<PrecisionPlan> alike = {
      {{kKV8, kKV2}}, {{kKV2, kKV8}}, {{kK8V2, kK8V2}}, {{kKV8, kKV8}}};
  EXPECT_THAT(ThinOverBytes(alike, FakeCost, 3), ElementsAre(alike[1], alike[2], alike[3]));
}

TEST(Surrogate, TheExactPairIsAddedOnce) {
  const LayerLosses with = WithExactPair({{kKV8}, {{0.5}}});
  EXPECT_EQ(with.pairs, (std::vector<PrecisionPair>{kExactPair, kKV8}));
  EXPECT_EQ(with.losses.front().size(), 2U);
  EXPECT_EQ(WithExactPair(with).pairs, with.pairs);
}

}  // namespace
}  // namespace kvtune
