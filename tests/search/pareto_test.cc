#include "search/pareto.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <vector>

#include "lib/base/random.h"

namespace kvtune {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

TEST(Pareto, DominanceNeedsOneStrictlyBetterObjective) {
  EXPECT_TRUE(Dominates({1, 1}, {1, 2}));
  EXPECT_TRUE(Dominates({1, 1}, {2, 1}));
  EXPECT_FALSE(Dominates({1, 1}, {1, 1}));
  EXPECT_FALSE(Dominates({1, 2}, {2, 1}));
}

TEST(Pareto, NonDominatedIsByAscendingBytes) {
  const std::vector<Objectives> points = {{1, 8}, {4, 2}, {2, 8}, {2, 4}, {5, 2}};
  EXPECT_THAT(NonDominated(points), ElementsAre(1, 3, 0));
}

TEST(Pareto, OfEqualPointsTheFirstStays) {
  const std::vector<Objectives> points = {{2, 2}, {1, 3}, {2, 2}, {1, 3}};
  EXPECT_THAT(NonDominated(points), ElementsAre(0, 1));
}

TEST(Pareto, NoPointsHaveNoFront) {
  EXPECT_THAT(NonDominated({}), IsEmpty());
  EXPECT_EQ(Hypervolume({}, {1, 1}), 0);
}

TEST(Pareto, FrontIsExactlyThePointsThatNothingDominates) {
  for (uint64_t seed = 0; seed < 50; ++seed) {
    Random random(seed);
    std::vector<Objectives> points;
    // A coarse grid, so that ties in one and in both objectives happen.
    for (int i = 0; i < 60; ++i) {
      points.push_back(
          {static_cast<double>(random.Below(12)), static_cast<double>(random.Below(12))});
    }
    const std::vector<size_t> front = NonDominated(points);
    for (size_t i = 0; i < points.size(); ++i) {
      const bool dominated =
          std::any_of(points.begin(), points.end(),
                      [&](const Objectives& other) { return Dominates(other, points[i]); });
      const bool represented = std::any_of(front.begin(), front.end(), [&](size_t member) {
        return points[member].loss == points[i].loss && points[member].bytes == points[i].bytes;
      });
      EXPECT_NE(dominated, represented) << "seed " << seed << ", point " << i;
    }
    for (size_t i = 1; i < front.size(); ++i) {
      EXPECT_LT(points[front[i - 1]].bytes, points[front[i]].bytes);
    }
  }
}

TEST(Pareto, HypervolumeIsTheAreaOfTheStaircase) {
  // 3x1 beside 2x2, the dominated point adds nothing.
  const std::vector<Objectives> points = {{1, 3}, {2, 1}, {3, 3}};
  EXPECT_DOUBLE_EQ(Hypervolume(points, {4, 4}), 3 * 1 + 2 * 2);
}

TEST(Pareto, PointsBeyondTheReferenceHaveNoArea) {
  const std::vector<Objectives> points = {{5, 1}, {1, 5}, {4, 1}, {2, 2}};
  EXPECT_DOUBLE_EQ(Hypervolume(points, {4, 4}), 4);
}

TEST(Pareto, GainIsTheAreaThatAPointAdds) {
  const std::vector<Objectives> front = {{2, 1}, {1, 3}};
  EXPECT_DOUBLE_EQ(HypervolumeGain({}, {1, 3}, {4, 4}), 3 * 1);
  EXPECT_DOUBLE_EQ(HypervolumeGain(front, {1, 2}, {4, 4}), 1);
  EXPECT_DOUBLE_EQ(HypervolumeGain(front, {0, 0}, {4, 4}), 16 - 7);
  EXPECT_EQ(HypervolumeGain(front, {2, 1}, {4, 4}), 0);
  EXPECT_EQ(HypervolumeGain(front, {3, 2}, {4, 4}), 0);
  EXPECT_EQ(HypervolumeGain(front, {0, 4}, {4, 4}), 0);
  EXPECT_EQ(HypervolumeGain(front, {4, 0}, {4, 4}), 0);
}

// Of random points, some of which lie outside the reference.
void ExpectGainsOfPagmo(const Objectives& reference,
                        const std::function<Objectives(const std::function<double()>&)>& point_of,
                        double tolerance) {
  for (uint64_t seed = 0; seed < 50; ++seed) {
    Random random(seed);
    const auto draw = [&] { return point_of([&] { return 12 * random.Unit() - 1; }); };
    std::vector<Objectives> points;
    for (int i = 0; i < 20; ++i) points.push_back(draw());
    std::vector<Objectives> front;
    for (const size_t i : NonDominated(points)) front.push_back(points[i]);
    for (int i = 0; i < 20; ++i) {
      const Objectives point = draw();
      std::vector<Objectives> with = points;
      with.push_back(point);
      EXPECT_NEAR(HypervolumeGain(front, point, reference),
                  Hypervolume(with, reference) - Hypervolume(points, reference), tolerance);
    }
  }
}

TEST(Pareto, GainIsTheDifferenceOfPagmosHypervolumes) {
  ExpectGainsOfPagmo(
      {10, 10},
      [](const auto& value) {
        return Objectives{value(), value()};
      },
      1e-12);
}

TEST(Pareto, LossesMayBeNegative) {
  const std::vector<Objectives> points = {{-6, 100}};
  EXPECT_DOUBLE_EQ(Hypervolume(points, {-1, 300}), 5 * 200);
}

// Of three objectives, on a coarse grid, so that ties happen in one, two and all of them.
std::vector<Objectives> DrawTimed(Random& random, int count) {
  const auto draw = [&] { return static_cast<double>(random.Below(7)); };
  std::vector<Objectives> points;
  for (int i = 0; i < count; ++i) points.push_back({draw(), draw(), draw()});
  return points;
}

TEST(TimedPareto, TimeDecidesWhereLossAndBytesAreEqual) {
  EXPECT_TRUE(Dominates({1, 1, 1}, {1, 1, 2}));
  EXPECT_FALSE(Dominates({1, 1, 1}, {1, 1, 1}));
  EXPECT_FALSE(Dominates({1, 1, 2}, {2, 2, 1}));
  const std::vector<Objectives> points = {{1, 1, 3}, {2, 1, 2}, {1, 1, 3}, {2, 1, 3}, {9, 9, 1}};
  EXPECT_THAT(NonDominated(points), ElementsAre(0, 1, 4));
}

TEST(TimedPareto, FrontIsExactlyThePointsThatNothingDominates) {
  for (uint64_t seed = 0; seed < 50; ++seed) {
    Random random(seed);
    const std::vector<Objectives> points = DrawTimed(random, 60);
    const std::vector<size_t> front = NonDominated(points);
    for (size_t i = 0; i < points.size(); ++i) {
      const bool dominated = std::ranges::any_of(
          points, [&](const Objectives& other) { return Dominates(other, points[i]); });
      const auto count = std::ranges::count_if(
          front, [&](size_t member) { return ValuesOf(points[member]) == ValuesOf(points[i]); });
      EXPECT_EQ(count, dominated ? 0 : 1) << "seed " << seed << ", point " << i;
    }
    for (size_t i = 1; i < front.size(); ++i)
      EXPECT_LE(points[front[i - 1]].bytes, points[front[i]].bytes);
  }
}

// Whoever is on the front of loss and bytes has somebody as good in both on the front of three.
TEST(TimedPareto, TheFrontOfTwoObjectivesIsWithinTheFrontOfThree) {
  for (uint64_t seed = 0; seed < 50; ++seed) {
    Random random(seed);
    const std::vector<Objectives> points = DrawTimed(random, 60);
    std::vector<Objectives> flat = points;
    for (Objectives& point : flat) point.milliseconds.reset();
    const std::vector<size_t> three = NonDominated(points);
    for (const size_t i : NonDominated(flat)) {
      EXPECT_TRUE(std::ranges::any_of(three,
                                      [&](size_t member) {
                                        return flat[member].loss == flat[i].loss &&
                                               flat[member].bytes == flat[i].bytes;
                                      }))
          << "seed " << seed << ", point " << i;
    }
  }
}

// Points of one time have the volume of their area times the time that is left.
TEST(TimedPareto, PointsOfOneTimeAreATwoObjectiveFront) {
  Random random(3);
  std::vector<Objectives> points = DrawTimed(random, 40);
  std::vector<Objectives> flat = points;
  for (size_t i = 0; i < points.size(); ++i) {
    points[i].milliseconds = 2;
    flat[i].milliseconds.reset();
  }
  EXPECT_EQ(NonDominated(points), NonDominated(flat));
  EXPECT_DOUBLE_EQ(Hypervolume(points, {8, 8, 5}), 3 * Hypervolume(flat, {8, 8}));
}

TEST(TimedPareto, HypervolumeIsTheVolumeOfTheBoxes) {
  EXPECT_EQ(Hypervolume({}, {4, 4, 4}), 0);
  EXPECT_DOUBLE_EQ(Hypervolume(std::vector<Objectives>{{1, 2, 3}}, {4, 4, 4}), 3 * 2 * 1);
  // Two boxes of 3 x 2 x 1 and 1 x 1 x 4, of which 1 x 1 x 1 is in both, and a dominated point.
  EXPECT_DOUBLE_EQ(Hypervolume(std::vector<Objectives>{{1, 2, 3}, {3, 3, 0}, {3, 3, 3}}, {4, 4, 4}),
                   6 + 4 - 1);
  // Beyond the reference in one objective, and level with it.
  EXPECT_EQ(Hypervolume(std::vector<Objectives>{{1, 1, 5}, {1, 1, 4}, {5, 1, 1}}, {4, 4, 4}), 0);
}

TEST(TimedPareto, GainIsTheVolumeThatAPointAdds) {
  const std::vector<Objectives> front = {{1, 2, 3}, {3, 3, 0}};
  EXPECT_DOUBLE_EQ(HypervolumeGain({}, {1, 2, 3}, {4, 4, 4}), 6);
  EXPECT_DOUBLE_EQ(HypervolumeGain(front, {0, 0, 0}, {4, 4, 4}), 64 - 9);
  EXPECT_DOUBLE_EQ(HypervolumeGain(front, {1, 2, 2}, {4, 4, 4}), 6 - 1);
  EXPECT_EQ(HypervolumeGain(front, {1, 2, 3}, {4, 4, 4}), 0);
  EXPECT_EQ(HypervolumeGain(front, {0, 0, 4}, {4, 4, 4}), 0);
}

TEST(TimedPareto, GainIsTheDifferenceOfPagmosHypervolumes) {
  ExpectGainsOfPagmo(
      {10, 10, 10},
      [](const auto& value) {
        return Objectives{value(), value(), value()};
      },
      1e-11);
}

}  // namespace
}  // namespace kvtune
