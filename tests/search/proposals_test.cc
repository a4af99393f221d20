#include "search/proposals.h"

#include <gtest/gtest.h>

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

}  // namespace
}  // namespace kvtune
