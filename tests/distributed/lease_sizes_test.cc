#include "lib/distributed/lease_sizes.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <set>

namespace kvtune {
namespace {

using ::testing::ElementsAre;
using ::testing::SizeIs;

constexpr PrecisionPair kFourBits{KvFormatId::kInt4, KvFormatId::kInt4};
constexpr PrecisionPair kEightBits{KvFormatId::kInt8, KvFormatId::kInt8};

// Of four layers, by the bits of `number`.
PrecisionPlan PlanOf(unsigned number) {
  PrecisionPlan plan;
  for (unsigned layer = 0; layer < 4; ++layer) {
    plan.layers.push_back((number >> (3 - layer)) % 2 == 0 ? kFourBits : kEightBits);
  }
  return plan;
}

std::vector<PrecisionPlan> Plans(unsigned count) {
  std::vector<PrecisionPlan> plans;
  for (unsigned i = 0; i < count; ++i) plans.push_back(PlanOf((7 * i) % 16));  // mixed
  return plans;
}

std::vector<TokenIds> PromptsOf(const std::vector<size_t>& lengths) {
  std::vector<TokenIds> prompts;
  for (const size_t length : lengths) prompts.emplace_back(length, 1);
  return prompts;
}

void ExpectEveryPairOnce(const std::vector<ScoreLease>& leases, size_t plans, size_t prompts) {
  std::multiset<std::pair<size_t, size_t>> pairs;
  for (const ScoreLease& lease : leases) {
    for (const size_t plan : lease.plans) {
      for (const size_t prompt : lease.prompts) pairs.emplace(plan, prompt);
    }
  }
  EXPECT_THAT(pairs, SizeIs(plans * prompts));
  EXPECT_THAT((std::set<std::pair<size_t, size_t>>(pairs.begin(), pairs.end())),
              SizeIs(plans * prompts));
}

TEST(LeaseSizes, EveryPlanIsScoredOnEveryPromptOnce) {
  for (const size_t wanted : {1, 2, 3, 5, 8, 40, 1000}) {
    const auto leases = SplitScoring(Plans(9), PromptsOf({5, 50, 7, 9, 100}), wanted);
    ExpectEveryPairOnce(leases, 9, 5);
    EXPECT_GE(leases.size(), std::min<size_t>(wanted, 45)) << wanted;
    for (const ScoreLease& lease : leases) {
      EXPECT_FALSE(lease.plans.empty());
      EXPECT_FALSE(lease.prompts.empty());
    }
  }
}

TEST(LeaseSizes, PromptsAreSplitBeforePlans) {
  const auto leases = SplitScoring(Plans(9), PromptsOf({8, 8, 8, 8}), 4);
  ASSERT_THAT(leases, SizeIs(4));
  for (const ScoreLease& lease : leases) {
    EXPECT_THAT(lease.plans, SizeIs(9));
    EXPECT_THAT(lease.prompts, SizeIs(1));
  }
}

TEST(LeaseSizes, PromptsAreSplitByTheirTokens) {
  const auto leases = SplitScoring(Plans(1), PromptsOf({100, 10, 10, 10, 10, 60}), 2);
  ASSERT_THAT(leases, SizeIs(2));
  EXPECT_THAT(leases[0].prompts, ElementsAre(0));
  EXPECT_THAT(leases[1].prompts, ElementsAre(1, 2, 3, 4, 5));
}

TEST(LeaseSizes, PlansWithTheSameFirstLayersStayTogether) {
  std::vector<PrecisionPlan> plans;
  for (const unsigned number : {0b0000u, 0b1000u, 0b0001u, 0b1001u, 0b0010u, 0b1010u}) {
    plans.push_back(PlanOf(number));
  }
  const auto leases = SplitScoring(plans, PromptsOf({8}), 2);
  ASSERT_THAT(leases, SizeIs(2));
  for (const ScoreLease& lease : leases) {
    ASSERT_THAT(lease.plans, SizeIs(3));
    for (const size_t plan : lease.plans) {
      EXPECT_EQ(plans[plan].layers[0], plans[lease.plans[0]].layers[0]);
    }
  }
}

TEST(LeaseSizes, TheLastLeasesAreSmall) {
  const std::vector<PrecisionPlan> plans = Plans(16);
  const std::vector<TokenIds> prompts = PromptsOf({8, 8, 8, 8, 8, 8});
  const auto leases = WithSmallLast(SplitScoring(plans, prompts, 6), plans, prompts, 2);
  ExpectEveryPairOnce(leases, 16, 6);
  ASSERT_THAT(leases, SizeIs(4 + 2 * 4));
  for (size_t i = 0; i < leases.size(); ++i) {
    EXPECT_THAT(leases[i].plans, SizeIs(testing::AllOf(testing::Ge(i < 4 ? 16u : 1u),
                                                       testing::Le(i < 4 ? 16u : 8u))))
        << i;
  }
  ExpectEveryPairOnce(WithSmallLast(SplitScoring(plans, prompts, 1), plans, prompts, 9), 16, 6);
}

TEST(LeaseSizes, WorkCountsSharedLayersOnceAndExactPlansNot) {
  const std::vector<TokenIds> prompts = PromptsOf({10, 20});
  const std::vector<PrecisionPlan> plans{PlanOf(0b0000), PlanOf(0b0001)};
  EXPECT_EQ(ScoringWork(std::span(plans).first(1), prompts), 4 * 30);
  EXPECT_EQ(ScoringWork(plans, prompts), 5 * 30);
  const std::vector<PrecisionPlan> exact{PrecisionPlan::Uniform(kExactPair, 4)};
  EXPECT_EQ(ScoringWork(exact, prompts), 0);
  ExpectEveryPairOnce(SplitScoring(exact, prompts, 8), 1, 2);
}

TEST(LeaseSizes, LeasesTakeAboutTheirTimeInAMultipleOfTheProcesses) {
  EXPECT_EQ(WantedLeases(100, 0, 2, 4), 32u);     // not known: eight each
  EXPECT_EQ(WantedLeases(100, 0.5, 2, 4), 28u);   // 50 s: 25 leases
  EXPECT_EQ(WantedLeases(100, 1e-6, 2, 4), 4u);   // one each
  EXPECT_EQ(WantedLeases(1e9, 0.5, 2, 4), 256u);  // 64 each
}

TEST(LeaseSizes, RowsAreCutInTheirOrderIntoEvenParts) {
  const std::vector<TokenIds> prompts = PromptsOf({10, 10, 10, 10});
  std::vector<GenerationRow> rows;
  for (size_t prompt = 0; prompt < 4; ++prompt) {
    for (size_t plan = 0; plan < 3; ++plan) rows.push_back({plan, prompt});
  }
  const GenerationRequest request{.plans = {},
                                  .prompts = prompts,
                                  .rows = rows,
                                  .max_new_tokens = 20,
                                  .end_tokens = {},
                                  .stops = {}};
  EXPECT_THAT(SplitRows(request, 2),
              ElementsAre(ElementsAre(0, 1, 2, 3, 4, 5), ElementsAre(6, 7, 8, 9, 10, 11)));
  for (const size_t wanted : {1, 3, 5, 12, 100}) {
    const auto parts = SplitRows(request, wanted);
    EXPECT_THAT(parts, SizeIs(std::min<size_t>(wanted, 12)));
    std::vector<size_t> all;
    for (const std::vector<size_t>& part : parts) {
      EXPECT_FALSE(part.empty());
      all.insert(all.end(), part.begin(), part.end());
    }
    EXPECT_THAT(all, ElementsAre(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11));
  }
}

TEST(LeaseSizes, ABatchOfRowsIsWorthALease) {
  EXPECT_EQ(WantedRowLeases(5, true, 4), 4u);
  EXPECT_EQ(WantedRowLeases(4096, true, 4), 4u);
  EXPECT_EQ(WantedRowLeases(8192, true, 4), 8u);
  EXPECT_EQ(WantedRowLeases(4096, false, 2), 16u);
  EXPECT_EQ(WantedRowLeases(1024, false, 1), 8u);
  EXPECT_EQ(WantedRowLeases(1 << 20, true, 2), 16u);
}

}  // namespace
}  // namespace kvtune
