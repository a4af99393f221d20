#include "lib/run/plan_budget.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "lib/base/error.h"
#include "tests/support/fake_run.h"
#include "tests/support/test_data.h"

namespace kvtune {
namespace {

using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

TEST(PlanBudget, TakesTheWeightsOfTheCheckpoint) {
  const FakeRun fake;
  MemoryOptions options;
  options.memory_bytes = 1 << 30;
  const MemoryBudget budget = BudgetForModel(options, fake.model(), 1000);
  EXPECT_GT(budget.weight_bytes, 0);
  EXPECT_EQ(budget.left_bytes(), (1 << 30) - budget.weight_bytes);
}

TEST(PlanBudget, SaysWhatIsMissing) {
  const FakeRun fake;
  MemoryOptions options;
  options.memory_bytes = 1 << 30;
  EXPECT_THAT([&] { BudgetForModel(options, fake / "gone", 1000); },
              ThrowsMessage<Error>(HasSubstr("expected them or --weights-size SIZE")));
  options.weight_bytes = 1 << 20;
  EXPECT_EQ(BudgetForModel(options, fake / "gone", 1000).weight_bytes, 1 << 20);
  options.memory_bytes = 1 << 19;
  EXPECT_THAT([&] { BudgetForModel(options, fake / "gone", 1000); },
              ThrowsMessage<Error>(
                  HasSubstr("found weights of 1.00 MiB in a memory of 512 KiB, expected")));
}

TEST(PlanBudget, BytesAreCountedAnewAtAnotherContext) {
  ParetoFront front;
  front.run.target = "kvtuner-kivi";  // its newest 32 tokens are exact
  front.run.context = 8192;
  front.run.layers.assign(2, {.kv_heads = 1, .key_head_dim = 32, .value_head_dim = 32});
  ScoredPlan plan;
  plan.plan = PrecisionPlan::Uniform({KvFormatId::kKiviInt2, KvFormatId::kKiviInt2}, 2);
  plan.cost.bytes_per_token = 7;  // what the run says
  plan.cost.latency_ms = 1.5;     // at a setting of its own
  front.plans = {plan};
  front.reference.plan = PrecisionPlan::Uniform(kExactPair, 2);
  CountBytesAt(front, 8192);
  EXPECT_EQ(front.plans[0].cost.bytes_per_token, 7);
  CountBytesAt(front, 32);
  EXPECT_DOUBLE_EQ(front.plans[0].cost.bytes_per_token, 2 * 2 * 32 * 2);  // all of them exact
  EXPECT_DOUBLE_EQ(front.reference.cost.bytes_per_token, 2 * 2 * 32 * 2);
  EXPECT_EQ(front.run.context, 32);
  EXPECT_EQ(front.plans[0].cost.latency_ms, 1.5);
  EXPECT_EQ(front.reference.cost.latency_ms, std::nullopt);
}

TEST(PlanBudget, BeyondItsWindowALayerTakesNoMore) {
  ParetoFront front;
  front.run.target = "kvtuner";
  front.run.layers.assign(2, {.kv_heads = 1, .key_head_dim = 32, .value_head_dim = 64});
  front.run.layers[1].window_tokens = 16;
  front.reference.plan = PrecisionPlan::Uniform(kExactPair, 2);
  CountBytesAt(front, 64);
  // Two bytes an element, and of 64 tokens the second layer keeps 16.
  EXPECT_DOUBLE_EQ(front.reference.cost.bytes_per_token, 2 * (32 + 64) * (1 + 16.0 / 64));
}

}  // namespace
}  // namespace kvtune
