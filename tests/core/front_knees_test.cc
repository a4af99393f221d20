#include "lib/core/front_knees.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace kvtune {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

ScoredPlan PlanOf(double bytes, double kl) {
  ScoredPlan plan;
  plan.name = std::to_string(static_cast<int>(bytes));
  plan.cost.bytes_per_token = bytes;
  plan.calibration.tokens = 100;
  plan.calibration.kl_mean = kl;
  return plan;
}

std::vector<const ScoredPlan*> PointersTo(const std::vector<ScoredPlan>& plans) {
  std::vector<const ScoredPlan*> pointers;
  for (const ScoredPlan& plan : plans) pointers.push_back(&plan);
  return pointers;
}

std::vector<std::string> KneesOf(const std::vector<ScoredPlan>& plans, double noise_floor = 0) {
  std::vector<std::string> names;
  for (const ScoredPlan* plan : Knees(PointersTo(plans), ScoreSet::kCalibration, noise_floor))
    names.push_back(plan->name);
  return names;
}

TEST(FrontKnees, TheDeepestPlanBelowTheLine) {
  // On the line from (100, 1e-1) to (500, 1e-5), 300 bytes lose 1e-3 and 200 bytes 1e-2.
  const std::vector<ScoredPlan> plans = {PlanOf(500, 1e-5), PlanOf(300, 2e-4), PlanOf(200, 1e-3),
                                         PlanOf(100, 1e-1)};
  EXPECT_EQ(Knee(PointersTo(plans), ScoreSet::kCalibration, 0)->name, "200");
  EXPECT_THAT(KneesOf(plans), ElementsAre("200", "300"));
}

TEST(FrontKnees, NothingBendsOnALineOrWithTwoPlans) {
  const std::vector<ScoredPlan> line = {PlanOf(100, 1e-1), PlanOf(200, 1e-2), PlanOf(300, 1e-3)};
  EXPECT_THAT(KneesOf(line), IsEmpty());
  EXPECT_THAT(KneesOf({PlanOf(100, 1e-1), PlanOf(500, 1e-5)}), IsEmpty());
  EXPECT_EQ(Knee(PointersTo({line.begin(), line.begin() + 1}), ScoreSet::kCalibration, 0), nullptr);
  EXPECT_EQ(Knee({}, ScoreSet::kCalibration, 0), nullptr);
}

TEST(FrontKnees, APlanAboveTheHullIsNoKnee) {
  const std::vector<ScoredPlan> plans = {PlanOf(500, 1e-5), PlanOf(400, 5e-2), PlanOf(200, 1e-4),
                                         PlanOf(100, 1e-1)};
  EXPECT_THAT(KneesOf(plans), ElementsAre("200"));
  EXPECT_THAT(KneesOf({PlanOf(500, 1e-5), PlanOf(400, 5e-2), PlanOf(100, 1e-1)}), IsEmpty());
}

TEST(FrontKnees, LossesBelowTheNoiseFloorAreOne) {
  // Without the floor 300 bends most, with a loss that is only rounding.
  const std::vector<ScoredPlan> plans = {PlanOf(500, 1e-9), PlanOf(300, 1e-8), PlanOf(200, 1e-4),
                                         PlanOf(100, 1e-1)};
  EXPECT_EQ(Knee(PointersTo(plans), ScoreSet::kCalibration, 0)->name, "300");
  EXPECT_EQ(Knee(PointersTo(plans), ScoreSet::kCalibration, 1e-4)->name, "200");
}

TEST(FrontKnees, NothingBendsWhereBytesOrLossesAreAlike) {
  const std::vector<ScoredPlan> alike_in_bytes = {PlanOf(300, 1e-1), PlanOf(300, 1e-3),
                                                  PlanOf(300, 1e-2)};
  const std::vector<ScoredPlan> alike_in_loss = {PlanOf(100, 1e-2), PlanOf(200, 1e-2),
                                                 PlanOf(500, 1e-2)};
  for (const std::vector<ScoredPlan>& plans : {alike_in_bytes, alike_in_loss}) {
    EXPECT_EQ(Knee(PointersTo(plans), ScoreSet::kCalibration, 0), nullptr);
    EXPECT_THAT(KneesOf(plans), IsEmpty());
  }
}

TEST(FrontKnees, ThePlansThatOnlyTimeKeepsOnTheFrontAreLeftOutOfItsBytes) {
  ParetoFront front;
  front.plans = {PlanOf(100, 0.5),  PlanOf(100, 0.5),  // neither is better than its twin
                 PlanOf(101, 0.5),                     // more bytes, the same loss
                 PlanOf(200, 0.25),                    //
                 PlanOf(200, 0.3),                     // the same bytes, more loss
                 PlanOf(150, 0.4),                     // between two others in both
                 PlanOf(400, 0.45)};                   // more of either
  const auto names = [&] {
    std::vector<std::string> found;
    for (const ScoredPlan* plan : FrontInBytes(front)) found.push_back(plan->name);
    return found;
  };
  EXPECT_EQ(names().size(), 7u);  // in a search by bytes alone all are on the front
  front.latency = LatencySource{.device = "a device", .setting = {1, 1024}, .table = "xxh3:0"};
  EXPECT_THAT(names(), ElementsAre("100", "100", "200", "150"));
}

}  // namespace
}  // namespace kvtune
