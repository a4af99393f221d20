#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <set>

#include "lib/base/error.h"
#include "tests/runner/decoding_cases.h"

namespace kvtune {
namespace {

using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

struct Generated {
  std::vector<TokenIds> tokens;  // by row
  std::vector<size_t> order;     // in which the rows ended
};

Generated GenerateAll(ModelRunner& runner, GenerationRequest request) {
  Generated generated;
  generated.tokens.resize(request.rows.size());
  std::set<size_t> ended;
  runner.Generate(request, [&](const GeneratedRow& row) {
    EXPECT_TRUE(ended.insert(row.row).second) << "row " << row.row << " ended twice";
    generated.tokens[row.row] = row.tokens;
    generated.order.push_back(row.row);
    return true;
  });
  EXPECT_EQ(ended.size(), request.rows.size());
  return generated;
}

// Every plan on every prompt.
std::vector<GenerationRow> AllRows(size_t plans, size_t prompts) {
  std::vector<GenerationRow> rows;
  for (size_t prompt = 0; prompt < prompts; ++prompt) {
    for (size_t plan = 0; plan < plans; ++plan) rows.push_back({plan, prompt});
  }
  return rows;
}

class GenerationEqualsDecoding : public ::testing::TestWithParam<DecodingCase> {};

// Each token is the likeliest one by token-by-token decoding of everything before it. Groups of
// residual windows fill up within prompts, at their ends and while tokens are generated.
TEST_P(GenerationEqualsDecoding, InEveryToken) {
  const DecodingCase& test_case = GetParam();
  const Tiny tiny(test_case.model);
  const auto runner = tiny.Runner(test_case.prefill, kFloat64);
  std::vector<TokenIds> prompts;
  for (const int64_t tokens : {1, 31, 32, 33, 70})
    prompts.push_back(RandomPrompt(tokens, test_case.model.vocab, static_cast<uint64_t>(tokens)));
  LearnMaxima(*runner, prompts.back());
  constexpr int64_t kNewTokens = 40;
  const std::vector<PrecisionPlan> plans = {
      test_case.plan, PrecisionPlan::Uniform(kExactPair, test_case.plan.layers.size())};
  const std::vector<GenerationRow> rows = AllRows(plans.size(), prompts.size());
  const Generated generated = GenerateAll(*runner, {.plans = plans,
                                                    .prompts = prompts,
                                                    .rows = rows,
                                                    .max_new_tokens = kNewTokens,
                                                    .end_tokens = {},
                                                    .stops = {}});
  const auto vocab = static_cast<ptrdiff_t>(test_case.model.vocab);
  for (size_t row = 0; row < rows.size(); ++row) {
    ASSERT_EQ(std::ssize(generated.tokens[row]), kNewTokens);
    const TokenIds& prompt = prompts[rows[row].prompt];
    TokenIds whole = prompt;
    whole.insert(whole.end(), generated.tokens[row].begin(), generated.tokens[row].end());
    const int64_t exact_queries = test_case.prefill == PrefillMode::kExact ? std::ssize(prompt) : 0;
    const std::vector<float> logits =
        runner->LogitsByDecoding(whole, plans[rows[row].plan], exact_queries);
    for (int64_t i = 0; i < kNewTokens; ++i) {
      const auto first = logits.begin() + (std::ssize(prompt) - 1 + i) * vocab;
      ASSERT_EQ(generated.tokens[row][static_cast<size_t>(i)],
                std::max_element(first, first + vocab) - first)
          << "token " << i << " behind " << prompt.size() << " under plan " << rows[row].plan;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Formats, GenerationEqualsDecoding, ::testing::ValuesIn(DecodingCases()),
                         [](const auto& test) { return test.param.name; });

class SharedBeginningGivesTheSameTokens : public ::testing::TestWithParam<DecodingCase> {};

// What all prompts begin with goes through the model once, whether it ends a group or not.
TEST_P(SharedBeginningGivesTheSameTokens, ForEveryPrompt) {
  const DecodingCase& test_case = GetParam();
  const Tiny tiny(test_case.model);
  const auto runner = tiny.Runner(test_case.prefill, kFloat64);
  const TokenIds beginning = RandomPrompt(64, test_case.model.vocab, 1);
  std::vector<TokenIds> prompts;
  for (const int64_t tokens : {1, 9, 40}) {
    TokenIds& prompt = prompts.emplace_back(beginning);
    const TokenIds own = RandomPrompt(tokens, test_case.model.vocab, static_cast<uint64_t>(tokens));
    prompt.insert(prompt.end(), own.begin(), own.end());
  }
  LearnMaxima(*runner, prompts.back());
  // Some begin as the plan of the case does, so that they share layers with it.
  const size_t layers = test_case.plan.layers.size();
  PrecisionPlan other = test_case.plan;
  other.layers.back() = kInt2Pair;
  const std::vector<PrecisionPlan> plans = {test_case.plan, other,
                                            PrecisionPlan::Uniform(kExactPair, layers)};
  const std::vector<GenerationRow> rows = AllRows(plans.size(), prompts.size());
  GenerationRequest request{
      .plans = plans, .prompts = prompts, .rows = rows, .max_new_tokens = 20, .end_tokens = {}};
  const Generated whole = GenerateAll(*runner, request);
  for (const int64_t shared : {1, 37, 64}) {
    request.shared_tokens = shared;
    EXPECT_EQ(GenerateAll(*runner, request).tokens, whole.tokens) << shared << " shared tokens";
  }
}

INSTANTIATE_TEST_SUITE_P(Formats, SharedBeginningGivesTheSameTokens,
                         ::testing::ValuesIn(DecodingCases()),
                         [](const auto& test) { return test.param.name; });

// Plans and prompts of different lengths, more of them than a batch on a CPU has places.
struct Questions {
  std::vector<PrecisionPlan> plans = {
      PrecisionPlan::Uniform(kExactPair, 3),
      PrecisionPlan::Uniform(kInt4Pair, 3),
      PrecisionPlan::Uniform(kInt2Pair, 3),
      {{kInt8Pair, {KvFormatId::kKiviInt2, KvFormatId::kInt2}, kInt4Pair}}};
  std::vector<TokenIds> prompts;
  std::vector<GenerationRow> rows;

  Questions() {
    for (uint64_t i = 0; i < 11; ++i)
      prompts.push_back(RandomPrompt(static_cast<int64_t>(3 + 7 * i), 64, i));
    rows = AllRows(plans.size(), prompts.size());
  }

  GenerationRequest Request() const {
    return {.plans = plans,
            .prompts = prompts,
            .rows = rows,
            .max_new_tokens = 24,
            .end_tokens = {5, 9},
            .stops = {}};
  }
};

TEST(Generation, PlansMakeADifference) {
  const Tiny tiny;
  const Questions questions;
  const Generated generated = GenerateAll(*tiny.Runner(), questions.Request());
  EXPECT_NE(generated.tokens[0], generated.tokens[2]);  // exact and int2 on the first prompt
  std::set<size_t> lengths;
  for (const TokenIds& tokens : generated.tokens) {
    lengths.insert(tokens.size());
    EXPECT_EQ(std::ranges::count(tokens, 5) + std::ranges::count(tokens, 9), 0);
  }
  EXPECT_GT(lengths.size(), 1u);  // some rows end early and make room for others
}

// On a CPU a row does not know the rows beside it, nor how they are spread over threads.
TEST(Generation, ARowDoesNotDependOnItsCompany) {
  const Tiny tiny;
  const Questions questions;
  for (const PrefillMode prefill : {PrefillMode::kQuantized, PrefillMode::kExact}) {
    const auto runner = tiny.Runner({.threads = 1, .prefill = prefill});
    const Generated together = GenerateAll(*runner, questions.Request());
    for (size_t row = 0; row < questions.rows.size(); ++row) {
      GenerationRequest alone = questions.Request();
      alone.rows = std::span(questions.rows).subspan(row, 1);
      EXPECT_EQ(GenerateAll(*runner, alone).tokens[0], together.tokens[row]) << "row " << row;
    }
    for (const int threads : {2, 3, 16}) {
      EXPECT_EQ(
          GenerateAll(*tiny.Runner({.threads = threads, .prefill = prefill}), questions.Request())
              .tokens,
          together.tokens)
          << threads << " threads";
    }
  }
}

TEST(Generation, StreamedWeightsGiveTheSameTokens) {
  const Tiny tiny;
  Questions questions;
  questions.rows.resize(9);
  const Generated resident =
      GenerateAll(*tiny.Runner({.weights = WeightMode::kResident}), questions.Request());
  EXPECT_EQ(
      GenerateAll(*tiny.Runner({.threads = 2, .weights = WeightMode::kStream}), questions.Request())
          .tokens,
      resident.tokens);
}

TEST(Generation, EndsWhereItIsTold) {
  const Tiny tiny;
  const auto runner = tiny.Runner();
  Questions questions;
  GenerationRequest request = questions.Request();
  request.end_tokens = {};
  const Generated whole = GenerateAll(*runner, request);
  for (const TokenIds& tokens : whole.tokens) ASSERT_EQ(tokens.size(), 24u);
  // In front of an end token.
  const int32_t end = whole.tokens[0][7];
  request.end_tokens = {end};
  const TokenIds& first = whole.tokens[0];
  EXPECT_EQ(GenerateAll(*runner, request).tokens[0],
            TokenIds(first.begin(), std::ranges::find(first, end)));
  // Behind the token that completes it.
  request.end_tokens = {};
  request.stops = {
      .texts = {"xxx"}, .newest_tokens = 8, .text_of = [](std::span<const int32_t> tokens) {
        return std::string(tokens.size(), 'x');
      }};
  EXPECT_EQ(GenerateAll(*runner, request).tokens[0], TokenIds(first.begin(), first.begin() + 3));
  request.max_new_tokens = 1;
  EXPECT_EQ(GenerateAll(*runner, request).tokens[0], TokenIds(first.begin(), first.begin() + 1));
}

TEST(Generation, StopsWhenItIsTold) {
  const Tiny tiny;
  const Questions questions;
  int rows = 0;
  tiny.Runner({.threads = 2})->Generate(questions.Request(), [&](const GeneratedRow&) {
    return ++rows < 3;
  });
  EXPECT_EQ(rows, 3);
  tiny.Runner()->Generate({.plans = questions.plans,
                           .prompts = questions.prompts,
                           .rows = {},
                           .end_tokens = {},
                           .stops = {}},
                          [&](const GeneratedRow&) { return ++rows > 0; });
  EXPECT_EQ(rows, 3);
}

TEST(Generation, ASequenceThatFitsNowhereIsRefused) {
  const Tiny tiny;
  const Questions questions;
  GenerationRequest request = questions.Request();
  request.max_new_tokens = int64_t{1} << 40;
  EXPECT_THAT([&] { GenerateAll(*tiny.Runner(), request); },
              ThrowsMessage<Error>(HasSubstr("generating: found room for")));
}

}  // namespace
}  // namespace kvtune
