#include "lib/gate/blame.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/gate/gate_test_data.h"

namespace kvtune {
namespace {

constexpr PrecisionPair kKv8{KvFormatId::kInt8, KvFormatId::kInt8};
constexpr PrecisionPair kKv4{KvFormatId::kInt4, KvFormatId::kInt4};
constexpr PrecisionPair kKv2{KvFormatId::kInt2, KvFormatId::kInt2};

TEST(Blame, ReplacesWhatDiffersAndWhatIsQuantized) {
  const PrecisionPlan plan{{kKv2, kKv4, kExactPair}};
  const std::vector<Replacement> replacements = ReplacementsOf(plan, {{kKv8, kKv4, kKv4}});
  ASSERT_EQ(replacements.size(), 4u);
  EXPECT_EQ(PlanSpec(replacements[0].plan), PlanSpec({{kKv8, kKv4, kExactPair}}));
  EXPECT_EQ(PlanSpec(replacements[1].plan), PlanSpec({{kKv2, kKv4, kKv4}}));
  EXPECT_EQ(replacements[1].toward, Toward::kBaseline);
  EXPECT_EQ(PlanSpec(replacements[2].plan), PlanSpec({{kExactPair, kKv4, kExactPair}}));
  EXPECT_EQ(replacements[3].layer, 1u);
  EXPECT_EQ(replacements[3].toward, Toward::kExact);
}

TEST(Blame, TheLargestDropTowardsTheBaselineIsNamed) {
  const PrecisionPlan plan{{kKv2, kKv2}};
  const std::vector<Replacement> replacements = ReplacementsOf(plan, {{kKv8, kKv4}});
  // Exact layer 1 drops more, but layer 0 is what changed most.
  const std::vector<Measurement> measured = {EvenMeasurement({0.2F}), EvenMeasurement({0.8F}),
                                             EvenMeasurement({0.19F}), EvenMeasurement({0.1F})};
  const std::optional<Blame> blame =
      BestExplanation(plan, EvenMeasurement({1.0F}), replacements, measured, Metric::kKlMean);
  ASSERT_TRUE(blame);
  EXPECT_EQ(blame->layer, 0u);
  EXPECT_EQ(blame->toward, Toward::kBaseline);
  EXPECT_EQ(blame->pair, "KV2");
  EXPECT_EQ(blame->replacement, "KV8");
  EXPECT_NEAR(blame->replaced, 0.2, 1e-7);
}

TEST(Blame, AnUnchangedPlanIsExplainedByTheLayerThatLosesMost) {
  const PrecisionPlan plan{{kKv2, kKv4}};
  const std::vector<Replacement> replacements = ReplacementsOf(plan, plan);
  const std::vector<Measurement> measured = {EvenMeasurement({0.9F}), EvenMeasurement({0.3F})};
  const std::optional<Blame> blame =
      BestExplanation(plan, EvenMeasurement({1.0F}), replacements, measured, Metric::kKlMean);
  ASSERT_TRUE(blame);
  EXPECT_EQ(blame->layer, 1u);
  EXPECT_EQ(blame->toward, Toward::kExact);
}

TEST(Blame, NothingIsNamedWhereNothingHelps) {
  const PrecisionPlan plan{{kKv2}};
  for (const float no_better : {1.0F, 1.1F}) {
    const std::vector<Measurement> measured = {EvenMeasurement({no_better})};
    EXPECT_FALSE(BestExplanation(plan, EvenMeasurement({1.0F}), ReplacementsOf(plan, plan),
                                 measured, Metric::kKlMean));
  }
}

TEST(Blame, OfLayersThatExplainAsMuchTheFirstIsNamed) {
  const PrecisionPlan plan{{kKv2, kKv2, kKv2}};
  const std::vector<Measurement> measured = {EvenMeasurement({0.75F}), EvenMeasurement({0.5F}),
                                             EvenMeasurement({0.5F})};
  const std::optional<Blame> blame = BestExplanation(
      plan, EvenMeasurement({1.0F}), ReplacementsOf(plan, plan), measured, Metric::kKlMean);
  ASSERT_TRUE(blame);
  EXPECT_EQ(blame->layer, 1u);
}

}  // namespace
}  // namespace kvtune
