#include "lib/calib/model_evaluator.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "lib/base/error.h"
#include "lib/base/file.h"
#include "lib/calib/prompt_set.h"
#include "tests/calib/tiny_runner.h"
#include "tests/support/test_data.h"

namespace kvtune {
namespace {

namespace fs = std::filesystem;

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;
using ::testing::ThrowsMessage;

PlanScore ScoreAlone(ModelEvaluator& evaluator, const PrecisionPlan& plan) {
  return evaluator.Evaluate(std::span(&plan, 1)).front();
}

TEST(ModelEvaluator, TheExactPlanLosesNothing) {
  TinyRunner tiny;
  const std::vector<TokenIds> prompts = RandomPrompts(3);
  ModelEvaluator evaluator(tiny.model(), prompts);
  EXPECT_EQ(evaluator.layer_count(), 3u);
  const PlanScore exact = ScoreAlone(evaluator, PrecisionPlan::Uniform(kExactPair, 3));
  EXPECT_EQ(exact.kl_mean, 0);
  EXPECT_EQ(exact.kl_p999, 0);
  EXPECT_EQ(exact.delta_nll, 0);
  EXPECT_EQ(exact.top1_agreement, 1);
  EXPECT_GT(exact.nll, 0);
}

TEST(ModelEvaluator, ExactLayersOfAMixedPlanLoseNothing) {
  TinyRunner tiny;
  const std::vector<TokenIds> prompts = RandomPrompts(4);
  ModelEvaluator evaluator(tiny.model(), prompts);
  // Under int4 losses are small enough to add up; under int2 they saturate.
  const PrecisionPair coarse{KvFormatId::kInt4, KvFormatId::kInt4};
  const double all = ScoreAlone(evaluator, PrecisionPlan::Uniform(coarse, 3)).kl_mean;
  for (size_t quantized = 0; quantized < 3; ++quantized) {
    PrecisionPlan mixed = PrecisionPlan::Uniform(kExactPair, 3);
    mixed.layers[quantized] = coarse;
    const double one = ScoreAlone(evaluator, mixed).kl_mean;
    EXPECT_GT(one, 0) << "layer " << quantized;
    EXPECT_LT(one, all) << "layer " << quantized;
  }
}

TEST(ModelEvaluator, FiguresAgreeWithEachOther) {
  TinyRunner tiny;
  const std::vector<TokenIds> prompts = RandomPrompts(4);
  ModelEvaluator evaluator(tiny.model(), prompts);
  const double exact_nll = ScoreAlone(evaluator, PrecisionPlan::Uniform(kExactPair, 3)).nll;
  for (const PrecisionPair pair : NinePairs()) {
    SCOPED_TRACE(PairLabel(pair));
    const PlanScore score = ScoreAlone(evaluator, PrecisionPlan::Uniform(pair, 3));
    EXPECT_GT(score.kl_mean, 0);
    EXPECT_LE(score.kl_mean, score.kl_p999);
    EXPECT_LE(score.kl_p99, score.kl_p999);
    EXPECT_EQ(score.delta_nll, score.nll - exact_nll);

    EXPECT_EQ(score.prompts, 4);
    ASSERT_THAT(score.per_prompt, SizeIs(4));
    int64_t tokens = 0, matches = 0;
    double kl = 0, nll = 0;
    for (size_t i = 0; i < 4; ++i) {
      const PromptScore& prompt = score.per_prompt[i];
      EXPECT_EQ(prompt.tokens, static_cast<int64_t>(prompts[i].size()) - 1);
      EXPECT_LE(prompt.top1_matches, prompt.tokens);
      tokens += prompt.tokens;
      matches += prompt.top1_matches;
      kl += prompt.kl_sum;
      nll += prompt.nll_sum;
    }
    EXPECT_EQ(score.tokens, tokens);
    const auto count = static_cast<double>(tokens);
    EXPECT_DOUBLE_EQ(score.kl_mean, kl / count);
    EXPECT_DOUBLE_EQ(score.nll, nll / count);
    EXPECT_DOUBLE_EQ(score.top1_agreement, static_cast<double>(matches) / count);
  }
}

TEST(ModelEvaluator, AScoreDoesNotDependOnItsCompany) {
  // In float64, because a rounding difference that moves one value over a quantization step is no
  // longer small.
  TinyRunner tiny({}, ProbeArithmetic::kFloat64);
  const std::vector<TokenIds> prompts = RandomPrompts(3);
  ModelEvaluator evaluator(tiny.model(), prompts);
  std::vector<PrecisionPlan> plans;
  Random random(5);
  for (int i = 0; i < 12; ++i) {
    PrecisionPlan& plan = plans.emplace_back();
    for (int layer = 0; layer < 3; ++layer) plan.layers.push_back(NinePairs()[random.Below(9)]);
  }
  plans.push_back(PrecisionPlan::Uniform(kExactPair, 3));
  plans.push_back(plans.front());
  const std::vector<PlanScore> together = evaluator.Evaluate(plans);
  ASSERT_THAT(together, SizeIs(plans.size()));
  for (size_t i = 0; i < plans.size(); ++i) {
    const PlanScore alone = ScoreAlone(evaluator, plans[i]);
    EXPECT_NEAR(together[i].kl_mean, alone.kl_mean, 1e-6 * alone.kl_mean) << PlanSpec(plans[i]);
    EXPECT_NEAR(together[i].nll, alone.nll, 1e-6 * alone.nll);
    EXPECT_EQ(together[i].top1_agreement, alone.top1_agreement);
  }
  EXPECT_EQ(together.front().kl_mean, together.back().kl_mean);
}

TEST(ModelEvaluator, NoPlansHaveNoScores) {
  TinyRunner tiny;
  const std::vector<TokenIds> prompts = RandomPrompts(1);
  EXPECT_THAT(ModelEvaluator(tiny.model(), prompts).Evaluate({}), IsEmpty());
}

TEST(ModelEvaluator, WithoutPromptsThereIsNothingToScore) {
  TinyRunner tiny;
  ModelEvaluator evaluator(tiny.model(), {});
  EXPECT_THAT(
      [&] { ScoreAlone(evaluator, PrecisionPlan::Uniform(kKV4, 3)); },
      ThrowsMessage<Error>(HasSubstr("scoring plans: found no prompts, expected at least 1")));
}

TEST(ModelEvaluator, FewerBitsLoseMoreOnATrainedModel) {
  const fs::path model = fs::path(KVTUNE_SHARED_DATA_DIR) / "models" / "stories260K";
  if (!fs::exists(model)) GTEST_SKIP() << "no trained model in " << model;
  const TemporaryDirectory directory;
  WriteFileAtomically(
      directory / "story.txt",
      "Once upon a time, there was a little girl named Lily. She loved to play outside in the "
      "park. "
      "One day, she saw a big, red ball under a tree. \"Look, mom!\" said Lily. Her mom smiled and "
      "said, \"Let us ask who lost it.\" They walked around and found a sad boy named Tim.");
  const Checkpoint checkpoint(model);
  const PromptSet prompts = LoadPromptSet({.files = {directory / "story.txt"}},
                                          BundledSet::kCalibration, 0, model, checkpoint.config());
  ModelProbe runner(checkpoint, {.device = "cpu"});
  ModelEvaluator evaluator(runner, prompts.prompts);
  const size_t layers = evaluator.layer_count();
  const std::vector<PrecisionPlan> plans = {PrecisionPlan::Uniform(kKV8, layers),
                                            PrecisionPlan::Uniform(kKV4, layers),
                                            PrecisionPlan::Uniform(kKV2, layers)};
  const std::vector<PlanScore> scores = evaluator.Evaluate(plans);
  EXPECT_GT(scores[0].kl_mean, 0);
  EXPECT_LT(scores[0].kl_mean, scores[1].kl_mean);
  EXPECT_LT(scores[1].kl_mean, scores[2].kl_mean);
  // A trained model predicts its own kind of story far better than chance, which is log(512).
  EXPECT_LT(scores[0].nll, 4);
}

TEST(ModelEvaluator, RangesOfPromptsAreThoseOfTheWhole) {
  TinyRunner tiny({}, ProbeArithmetic::kFloat64);
  const std::vector<TokenIds> prompts = RandomPrompts(5);
  ModelEvaluator evaluator(tiny.model(), prompts);
  EXPECT_EQ(evaluator.prompt_count(), 5u);
  const std::vector<PrecisionPlan> plans = {PrecisionPlan::Uniform(kKV4, 3),
                                            PrecisionPlan::Uniform(kExactPair, 3)};
  const auto whole = evaluator.ScorePrompts(plans, {0, 5});
  const auto part = evaluator.ScorePrompts(plans, {2, 4});
  for (size_t plan = 0; plan < plans.size(); ++plan) {
    ASSERT_THAT(part[plan], SizeIs(2));
    for (size_t i = 0; i < 2; ++i) {
      EXPECT_EQ(part[plan][i].kl_sum, whole[plan][i + 2].kl_sum);
      EXPECT_EQ(part[plan][i].exact_nll_sum, whole[plan][i + 2].exact_nll_sum);
      EXPECT_EQ(part[plan][i].token_kl, whole[plan][i + 2].token_kl);
    }
  }
}

}  // namespace
}  // namespace kvtune
