// Layers that are split over several devices, which are all the CPU here: hidden states are copied
// at the borders, and every stage has tables, positions and caches of its own.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "lib/base/error.h"
#include "tests/runner/decoding_cases.h"

namespace kvtune {
namespace {

using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

std::vector<TokenIds> SomePrompts() {
  std::vector<TokenIds> prompts;
  for (uint64_t i = 0; i < 4; ++i)
    prompts.push_back(RandomPrompt(static_cast<int64_t>(5 + 21 * i), 64, i));
  return prompts;
}

std::vector<std::vector<PromptScore>> ScoresOf(ModelRunner& runner, const PrecisionPlan& plan) {
  const std::vector<PrecisionPlan> plans{plan, PrecisionPlan::Uniform(kInt2Pair, 3),
                                         PrecisionPlan::Uniform(kExactPair, 3)};
  return runner.ScorePlans(plans, SomePrompts(), nullptr);
}

std::vector<TokenIds> AnswersOf(ModelRunner& runner, const PrecisionPlan& plan) {
  const std::vector<PrecisionPlan> plans{plan, PrecisionPlan::Uniform(kExactPair, 3)};
  const std::vector<TokenIds> prompts = SomePrompts();
  std::vector<GenerationRow> rows;
  for (size_t prompt = 0; prompt < prompts.size(); ++prompt) {
    for (size_t i = 0; i < plans.size(); ++i) rows.push_back({i, prompt});
  }
  std::vector<TokenIds> answers(rows.size());
  runner.Generate({.plans = plans,
                   .prompts = prompts,
                   .rows = rows,
                   .max_new_tokens = 40,
                   .end_tokens = {5},
                   .stops = {}},
                  [&](const GeneratedRow& row) {
                    answers[row.row] = row.tokens;
                    return true;
                  });
  return answers;
}

class SplitLayers : public ::testing::TestWithParam<DecodingCase> {};

TEST_P(SplitLayers, ChangeNoBit) {
  const DecodingCase& test_case = GetParam();
  const Tiny tiny(test_case.model);
  const ModelOptions options{.prefill = test_case.prefill};
  const auto whole = tiny.Runner(options);
  LearnMaxima(*whole, SomePrompts().back());
  const auto scores = ScoresOf(*whole, test_case.plan);
  const std::vector<TokenIds> answers = AnswersOf(*whole, test_case.plan);
  for (const int stages : {2, 3, 7}) {  // there are three layers
    ModelOptions split_options = options;
    split_options.split_layers = stages;
    split_options.threads = stages;
    const auto split = tiny.Runner(split_options);
    LearnMaxima(*split, SomePrompts().back());
    const auto again = ScoresOf(*split, test_case.plan);
    for (size_t plan = 0; plan < scores.size(); ++plan) {
      for (size_t prompt = 0; prompt < scores[plan].size(); ++prompt) {
        EXPECT_EQ(again[plan][prompt].token_kl, scores[plan][prompt].token_kl);
        EXPECT_EQ(again[plan][prompt].nll_sum, scores[plan][prompt].nll_sum);
        EXPECT_EQ(again[plan][prompt].top1_matches, scores[plan][prompt].top1_matches);
      }
    }
    EXPECT_EQ(AnswersOf(*split, test_case.plan), answers) << stages << " stages";
  }
}

INSTANTIATE_TEST_SUITE_P(Formats, SplitLayers, ::testing::ValuesIn(DecodingCases()),
                         [](const auto& test) { return test.param.name; });

TEST(SplitLayersOfOnePass, ObserveAndMeasureTheSame) {
  const Tiny tiny;
  const std::vector<TokenIds> prompts = SomePrompts();
  const std::vector<PrecisionPair> pairs{kInt8Pair, kInt2Pair};
  const auto whole = tiny.Runner(ModelOptions{});
  const auto split = tiny.Runner(ModelOptions{.split_layers = 2});
  const auto expected = whole->ObserveAttention(prompts, pairs, nullptr);
  const auto observed = split->ObserveAttention(prompts, pairs, nullptr);
  for (size_t layer = 0; layer < expected.size(); ++layer) {
    EXPECT_EQ(observed[layer].maxima, expected[layer].maxima);
    EXPECT_EQ(observed[layer].key_channel_total, expected[layer].key_channel_total);
    for (size_t pair = 0; pair < pairs.size(); ++pair)
      EXPECT_EQ(observed[layer].pairs[pair].key_channel_error,
                expected[layer].pairs[pair].key_channel_error);
  }
  EXPECT_EQ(split->NoiseFloor(prompts), whole->NoiseFloor(prompts));
  EXPECT_EQ(split->ExactPasses(prompts), whole->ExactPasses(prompts));
  EXPECT_EQ(split->LogitsByDecoding(prompts[1], PrecisionPlan::Uniform(kInt4Pair, 3), 0),
            whole->LogitsByDecoding(prompts[1], PrecisionPlan::Uniform(kInt4Pair, 3), 0));
}

TEST(SplitLayersOfOnePass, AreNotStreamed) {
  const Tiny tiny;
  EXPECT_THAT(
      [&] { tiny.Runner({.weights = WeightMode::kStream, .split_layers = 2}); },
      ThrowsMessage<Error>(HasSubstr("found --split-layers and --weights stream, expected one")));
  EXPECT_FALSE(tiny.Runner(ModelOptions{.split_layers = 2})->streams_weights());
}

}  // namespace
}  // namespace kvtune
