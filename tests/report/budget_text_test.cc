#include "lib/report/budget_text.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace kvtune {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

MemoryBudget SmallBudget() {
  MemoryBudget budget;
  budget.memory_name = "24.0 GiB";
  budget.memory_bytes = 24.0 * (1 << 30);
  budget.weight_bytes = 16.0 * (1 << 30);
  budget.context = 32768;
  budget.parallel = 4;
  return budget;
}

TEST(BudgetText, SaysWhatRemainsAndWhetherItIsEnough) {
  EXPECT_THAT(BudgetText(SmallBudget(), 131072),
              StartsWith("Memory 24.0 GiB: weights 16.0 GiB, 8.00 GiB remain for the cache of 4 x "
                         "32k tokens. In bf16 it takes 16.0 GiB and does not fit."));
  EXPECT_THAT(BudgetText(SmallBudget(), 32768),
              HasSubstr("No quantization is needed: in bf16 it takes 4.00 GiB."));
}

TEST(BudgetText, SaysThatTheWeightsDoNotFit) {
  MemoryBudget budget = SmallBudget();
  budget.weight_bytes = 25.0 * (1 << 30);
  EXPECT_THAT(BudgetText(budget, 1), HasSubstr("the weights take 25.0 GiB and do not fit"));
}

TEST(BudgetText, ComparesAPlanWithBf16) {
  ScoredPlan plan;
  plan.name = "p07";
  plan.cost.bytes_per_token = 32768;
  ScoredPlan exact;
  exact.cost.bytes_per_token = 131072;
  EXPECT_THAT(FitText(SmallBudget(), plan, exact),
              HasSubstr("p07 takes 4.00 GiB: 4.0 times the context of bf16, 262 K tokens in all."));
}

TEST(BudgetText, NamesTheSequences) {
  MemoryBudget budget = SmallBudget();
  EXPECT_EQ(SequencesText(budget), "4 x 32k tokens");
  budget.parallel = 1;
  budget.context = 1000;
  EXPECT_EQ(SequencesText(budget), "1000 tokens");
}

}  // namespace
}  // namespace kvtune
