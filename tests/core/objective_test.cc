#include "lib/core/objective.h"

#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace kvtune {
namespace {

PlanScore TwoPrompts() {
  std::vector<PromptScore> prompts(2);
  prompts[0].tokens = 3;
  prompts[0].kl_sum = 6;
  prompts[0].token_kl = {1, 2, 3};
  prompts[1].tokens = 1;
  prompts[1].kl_sum = 4;
  prompts[1].token_kl = {4};
  return Summarize(std::move(prompts));
}

TEST(Objective, PromptsSumUpToThePlansLoss) {
  const PlanScore score = TwoPrompts();
  double sum = 0;
  int64_t tokens = 0;
  for (const PromptScore& prompt : score.per_prompt) {
    sum += LossOf(prompt);
    tokens += prompt.tokens;
  }
  EXPECT_EQ(LossOf(score), 2.5);
  EXPECT_EQ(LossOf(score), sum / static_cast<double>(tokens));
}

TEST(Objective, APlanThatRacingStoppedIsJudgedByWhatIsExpected) {
  PlanScore score = TwoPrompts();
  EXPECT_EQ(LossOverAllPrompts(score), 2.5);
  score.expected_loss = 7;
  EXPECT_EQ(LossOverAllPrompts(score), 7);
  EXPECT_EQ(LossOf(score), 2.5);
}

TEST(Objective, ScoreSetsAreToldApart) {
  ScoredPlan plan;
  plan.calibration.kl_mean = 1;
  plan.held_out = HeldOutScore{};
  plan.held_out->score.kl_mean = 2;
  EXPECT_EQ(LossOf(plan, ScoreSet::kCalibration), 1);
  EXPECT_EQ(LossOf(plan, ScoreSet::kHeldOut), 2);
}

TEST(Objective, IsolatedLossesMayBeMissing) {
  PairErrors errors;
  EXPECT_EQ(IsolatedLossOf(errors), std::nullopt);
  errors.kl = 0.25;
  EXPECT_EQ(IsolatedLossOf(errors), 0.25);
}

TEST(Objective, ItsNameIsTheFieldOfFiles) {
  const ObjectiveWords& words = Describe(Objective::kMeanKl);
  EXPECT_EQ(words.word, "KL");
  EXPECT_EQ(words.unit, "nats per token");
  EXPECT_GT(words.worse_direction, 0);
  const Json json = ToJson(TwoPrompts());
  EXPECT_EQ(json.at(std::string(words.name)), LossOf(TwoPrompts()));
}

TEST(Objective, DecadesEndFarBelowRounding) {
  EXPECT_EQ(LogLoss(0.1), std::log10(0.1));
  EXPECT_EQ(LogLoss(1e-12), -12);
  EXPECT_EQ(LogLoss(1e-13), -12);
  EXPECT_EQ(LogLoss(0), -12);
  EXPECT_EQ(LogLoss(-1e-9), -12);
}

}  // namespace
}  // namespace kvtune
