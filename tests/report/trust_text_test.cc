#include "lib/report/trust_text.h"

#include <gtest/gtest.h>

namespace kvtune {
namespace {

ScoredPlan PlanOf(std::string name, double calibration, double held_out) {
  ScoredPlan plan;
  plan.name = std::move(name);
  plan.plan = PrecisionPlan::Uniform(kExactPair, 2);
  plan.calibration.kl_mean = calibration;
  plan.calibration.prompts = 32;
  plan.calibration.tokens = 7000;
  plan.held_out = HeldOutScore{.score = plan.calibration, .loss_interval = {}};
  plan.held_out->score.kl_mean = held_out;
  return plan;
}

TEST(Optimism, ComparesHeldOutWithCalibration) {
  ParetoFront front;
  EXPECT_EQ(OptimismSentence(front), "");
  front.plans = {PlanOf("p00", 0.25, 0.5)};
  EXPECT_EQ(OptimismSentence(front),
            "On held-out prompts the plan of the front loses 2 times what it loses on the prompts "
            "that chose it.\n");
  front.plans.push_back(PlanOf("p01", 1, 1));
  front.plans.push_back(PlanOf("p02", 1, 1.25));
  front.plans.push_back(PlanOf("p03", 0, 0.1));  // which is no multiple of nothing
  EXPECT_EQ(
      OptimismSentence(front),
      "On held-out prompts the 3 plans of the front lose 1.2 times (median; 1 to 2) what they "
      "lose on the prompts that chose them.\n");
  front.search.emplace().answers.emplace();  // items chose them, and no prompt
  EXPECT_EQ(OptimismSentence(front), "");
  front.search.reset();
  front.plans[1].held_out.reset();
  EXPECT_EQ(OptimismSentence(front), "");
}

TEST(EffectiveTokens, NameTheWorstPlanAndThePromptsThatWouldHelp) {
  ParetoFront front;
  front.plans = {PlanOf("p00", 0.25, 0.5), PlanOf("p01", 1, 1), PlanOf("p02", 1, 1)};
  EXPECT_EQ(EffectiveTokensSentence(front), "");  // not known
  front.plans[0].calibration.effective_tokens = 30;
  EXPECT_EQ(EffectiveTokensSentence(front), "");
  front.plans[1].calibration.effective_tokens = 12;
  front.plans[2].calibration.effective_tokens = 6;
  EXPECT_EQ(
      EffectiveTokensSentence(front),
      "Fewer than 30 tokens carry the loss of 2 of the 3 plans of the front (p02: 6 of 7000). "
      "More prompts help more than more plans: about 160 instead of 32.\n");
}

}  // namespace
}  // namespace kvtune
