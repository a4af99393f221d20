#include "lib/core/plan_score.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <vector>

#include "lib/base/error.h"

namespace kvtune {
namespace {

PromptScore PromptOf(std::vector<float> token_kl) {
  PromptScore prompt;
  prompt.tokens = static_cast<int64_t>(token_kl.size());
  for (const float kl : token_kl) prompt.kl_sum += static_cast<double>(kl);
  prompt.token_kl = std::move(token_kl);
  return prompt;
}

TEST(PlanScore, EffectiveTokensCountThoseThatCarryTheLoss) {
  // All alike: as many as there are. One of four: one. (1 + 1 + 2)^2 / (1 + 1 + 4) = 8/3.
  EXPECT_DOUBLE_EQ(*Summarize({PromptOf({0.5F, 0.5F}), PromptOf({0.5F})}).effective_tokens, 3);
  EXPECT_DOUBLE_EQ(*Summarize({PromptOf({0, 0.25F, 0, 0})}).effective_tokens, 1);
  EXPECT_DOUBLE_EQ(*Summarize({PromptOf({1, 1, 2})}).effective_tokens, 8.0 / 3);
  EXPECT_EQ(Summarize({PromptOf({0, 0})}).effective_tokens, std::nullopt);
}

TEST(PlanScore, TotalVariationIsAMeanOverTokens) {
  PromptScore first = PromptOf({0.1F, 0.1F, 0.1F}), second = PromptOf({0.1F});
  EXPECT_EQ(Summarize({first, second}).total_variation, std::nullopt);
  first.total_variation_sum = 0.3;
  EXPECT_EQ(Summarize({first, second}).total_variation, std::nullopt);
  second.total_variation_sum = 0.5;
  EXPECT_DOUBLE_EQ(*Summarize({first, second}).total_variation, 0.2);
}

TEST(PlanScore, LossByPositionHasRangesThatGrowFourfold) {
  const PromptScore prompt = PromptOf(std::vector<float>(300, 0.25F));
  EXPECT_THAT(
      Summarize({prompt, PromptOf({0.5F, 0.5F})}).by_position,
      ::testing::ElementsAre(PositionLoss{0, 64, 66, (64 * 0.25 + 1) / 66},
                             PositionLoss{64, 256, 192, 0.25}, PositionLoss{256, 1024, 44, 0.25}));
}

TEST(PlanScore, PositionsCountFromThePromptsFirstToken) {
  PromptScore prompt = PromptOf({0.25F, 0.75F});
  prompt.first_position = 255;
  EXPECT_THAT(
      Summarize({prompt}).by_position,
      ::testing::ElementsAre(PositionLoss{64, 256, 1, 0.25}, PositionLoss{256, 1024, 1, 0.75}));
}

TEST(PlanScore, ReadsBackAndKnowsEarlierFiles) {
  PromptScore prompt = PromptOf({0.25F, 0.75F});
  prompt.total_variation_sum = 0.3;
  const Json json = ToJson(Summarize({prompt}));
  EXPECT_EQ(ToJson(PlanScoreFromJson(JsonFields(json, "score"))), json);
  Json earlier = json;
  for (const char* key : {"total_variation", "effective_tokens", "by_position"}) earlier.erase(key);
  EXPECT_EQ(ToJson(PlanScoreFromJson(JsonFields(earlier, "score"))), earlier);
}

TEST(PlanScore, MeansAreOverTheTokensOfAllPrompts) {
  PromptScore first = PromptOf({0.25F, 0.5F, 0.25F}), second = PromptOf({2});
  first.nll_sum = 6;
  first.exact_nll_sum = 4;
  first.top1_matches = 2;
  second.nll_sum = 3;
  second.exact_nll_sum = 1;
  second.top1_matches = 1;
  const PlanScore score = Summarize({first, second});
  EXPECT_EQ(score.prompts, 2);
  EXPECT_EQ(score.tokens, 4);
  EXPECT_DOUBLE_EQ(score.kl_mean, 0.75);
  EXPECT_DOUBLE_EQ(score.nll, 9.0 / 4);
  EXPECT_DOUBLE_EQ(score.delta_nll, 9.0 / 4 - 5.0 / 4);
  EXPECT_DOUBLE_EQ(score.top1_agreement, 0.75);
  EXPECT_EQ(Summarize({second}).tokens, 1);  // one is enough
  EXPECT_THAT([] { Summarize({}); },
              ::testing::ThrowsMessage<Error>(::testing::HasSubstr("found no prompts")));
}

}  // namespace
}  // namespace kvtune
