#include "search/proposals.h"

#include <gtest/gtest.h>

#include <optional>

#include "lib/base/random.h"
#include "search/pareto.h"
#include "tests/support/test_data.h"

namespace kvtune {
namespace {

std::vector<Proposal> ThreeProposals() {
  return {{PrecisionPlan::Uniform(kKV8, 1), {1, 0}},
          {PrecisionPlan::Uniform(kKV4, 1), {3, 0}},
          {PrecisionPlan::Uniform(kKV2, 1), {3, 0}}};
}

double ByLoss(const Objectives& predicted) { return predicted.loss; }

TEST(TakeBest, TakesTheFirstOfTheLargestAndKeepsTheOthersInOrder) {
  std::vector<Proposal> proposals = ThreeProposals();
  const std::optional<Proposal> best = TakeBest(proposals, 0, ByLoss);
  ASSERT_TRUE(best);
  EXPECT_EQ(best->plan, PrecisionPlan::Uniform(kKV4, 1));
  ASSERT_EQ(proposals.size(), 2u);
  EXPECT_EQ(proposals[0].plan, PrecisionPlan::Uniform(kKV8, 1));
  EXPECT_EQ(proposals[1].plan, PrecisionPlan::Uniform(kKV2, 1));
}

TEST(TakeBest, NothingAboveTheLeastIsNothingTaken) {
  std::vector<Proposal> proposals = ThreeProposals();
  EXPECT_FALSE(TakeBest(proposals, 3, ByLoss));
  EXPECT_EQ(proposals.size(), 3u);
}

// Gains in hypervolume, as they are used: the same proposals in the same order as by looking at
// all.
TEST(TakeLargestGain, TakesWhatTakeBestWouldButLooksAtFew) {
  const Objectives reference{1, 1, 1};
  Random random(5);
  std::vector<Proposal> proposals;
  for (int i = 0; i < 200; ++i)
    proposals.push_back({{}, {random.Unit(), random.Unit(), random.Unit()}});
  std::vector<Proposal> others = proposals;
  std::vector<Objectives> front;
  int looks = 0, others_looks = 0;
  for (int taken = 0; taken < 20; ++taken) {
    const auto gain = [&](int& count) {
      return [&](const Objectives& predicted) {
        ++count;
        return HypervolumeGain(front, predicted, reference);
      };
    };
    const std::optional<Proposal> best = TakeLargestGain(proposals, gain(looks));
    const std::optional<Proposal> expected = TakeBest(others, 0, gain(others_looks));
    ASSERT_TRUE(best && expected);
    EXPECT_EQ(ValuesOf(best->predicted), ValuesOf(expected->predicted));
    front.push_back(best->predicted);
    front = FrontOf(front);
  }
  EXPECT_LT(looks, others_looks / 4);
}

TEST(TakeLargestGain, NoGainIsNothingTaken) {
  std::vector<Proposal> proposals = ThreeProposals();
  EXPECT_FALSE(TakeLargestGain(proposals, [](const Objectives&) { return 0.0; }));
  EXPECT_EQ(proposals.size(), 3u);
  const auto first = TakeLargestGain(proposals, [](const Objectives&) { return 1.0; });
  EXPECT_EQ(first->plan, PrecisionPlan::Uniform(kKV8, 1));
  std::vector<Proposal> none;
  EXPECT_FALSE(TakeLargestGain(none, [](const Objectives&) { return 1.0; }));
}

}  // namespace
}  // namespace kvtune
