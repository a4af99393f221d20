#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <numeric>
#include <optional>

#include "lib/base/error.h"
#include "lib/base/file.h"
#include "tests/runner/decoding_cases.h"

namespace kvtune {
namespace {

using ::testing::HasSubstr;

// The loss of one plan on one prompt.
PromptScore Score(ModelRunner& runner, const PrecisionPlan& plan, const TokenIds& prompt) {
  return runner.ScorePlans(std::span(&plan, 1), std::span(&prompt, 1), nullptr)[0][0];
}

double LargestDifference(const std::vector<float>& a, const std::vector<float>& b) {
  EXPECT_EQ(a.size(), b.size());
  double largest = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    largest = std::max(largest, static_cast<double>(std::abs(a[i] - b[i])));
  }
  return largest;
}

class ParallelEqualsDecoding : public ::testing::TestWithParam<DecodingCase> {};

TEST_P(ParallelEqualsDecoding, HoldsAtEveryPosition) {
  const DecodingCase& test_case = GetParam();
  const Tiny tiny(test_case.model);
  const auto runner = tiny.Runner(test_case.prefill, kFloat64);
  for (const int64_t tokens : {1, 31, 32, 33, 100, 150}) {
    const TokenIds prompt =
        RandomPrompt(tokens, test_case.model.vocab, static_cast<uint64_t>(tokens));
    LearnMaxima(*runner, prompt);
    const std::vector<float> decoded = runner->LogitsByDecoding(prompt, test_case.plan);
    const float largest =
        std::abs(*std::max_element(decoded.begin(), decoded.end(),
                                   [](float a, float b) { return std::abs(a) < std::abs(b); }));
    // Logits arrive as float32, everything before is float64.
    EXPECT_LT(LargestDifference(runner->Logits(prompt, test_case.plan), decoded),
              1e-6 * static_cast<double>(largest))
        << tokens << " tokens";
  }
}

INSTANTIATE_TEST_SUITE_P(Formats, ParallelEqualsDecoding, ::testing::ValuesIn(DecodingCases()),
                         [](const auto& test) { return test.param.name; });

// float32 on a CPU has kernels of its own; float64 goes through operators.
TEST(ModelRunner, KernelsEqualOperators) {
  for (const char* architecture :
       {"LlamaForCausalLM", "MistralForCausalLM", "Gemma2ForCausalLM", "GptOssForCausalLM"}) {
    TinyModel model;
    model.architecture = architecture;
    model.window = 19;
    const Tiny tiny(model);
    const TokenIds prompt = RandomPrompt(100, model.vocab, 1);
    const PrecisionPlan exact = PrecisionPlan::Uniform(kExactPair, 3);
    const std::vector<float> wide =
        tiny.Runner(PrefillMode::kQuantized, kFloat64)->Logits(prompt, exact);
    const float largest =
        std::abs(*std::ranges::max_element(wide, {}, [](float x) { return std::abs(x); }));
    EXPECT_LT(LargestDifference(tiny.Runner()->Logits(prompt, exact), wide),
              2e-5 * static_cast<double>(largest))
        << architecture;
  }
}

TEST(ModelRunner, AWindowHidesOlderTokens) {
  TinyModel model;
  model.layers = 1;
  model.architecture = "MistralForCausalLM";
  model.window = 10;
  const Tiny tiny(model);
  const auto runner = tiny.Runner();
  TokenIds prompt = RandomPrompt(40, model.vocab, 1);
  const PrecisionPlan exact = PrecisionPlan::Uniform(kExactPair, 1);
  const std::vector<float> before = runner->Logits(prompt, exact);
  prompt[20] ^= 1;
  const std::vector<float> after = runner->Logits(prompt, exact);
  for (int64_t position = 0; position < 40; ++position) {
    const auto row = [&](const std::vector<float>& logits) {
      return std::vector<float>(logits.begin() + position * model.vocab,
                                logits.begin() + (position + 1) * model.vocab);
    };
    EXPECT_EQ(row(before) == row(after), position < 20 || position >= 30) << position;
  }
}

TEST(ModelRunner, ExactPlanLosesExactlyNothing) {
  const Tiny tiny;
  const auto runner = tiny.Runner();
  const std::vector<TokenIds> prompts = {RandomPrompt(40, 64, 1), RandomPrompt(9, 64, 2)};
  const std::vector<PrecisionPlan> plans = {PrecisionPlan::Uniform(kInt4Pair, 3),
                                            PrecisionPlan::Uniform(kExactPair, 3)};
  const auto losses = runner->ScorePlans(plans, prompts, nullptr);
  for (size_t p = 0; p < prompts.size(); ++p) {
    ASSERT_EQ(losses[1][p].token_kl.size(), prompts[p].size() - 1);
    for (const float kl : losses[1][p].token_kl) EXPECT_EQ(kl, 0);
    EXPECT_EQ(losses[1][p].top1_matches, static_cast<int64_t>(prompts[p].size()) - 1);
    EXPECT_GT(losses[0][p].token_kl.back(), 0);
  }
}

TEST(ModelRunner, NegativeLogLikelihoodIsThatOfTheLogits) {
  const Tiny tiny;
  const auto runner = tiny.Runner();
  const std::vector<TokenIds> prompts = {RandomPrompt(20, 64, 5)};
  const PrecisionPlan plan = PrecisionPlan::Uniform(kInt4Pair, 3);
  const std::vector<float> logits = runner->Logits(prompts[0], plan);
  double expected = 0;
  for (size_t t = 0; t + 1 < prompts[0].size(); ++t) {
    double sum = 0;
    for (size_t v = 0; v < 64; ++v) sum += std::exp(static_cast<double>(logits[t * 64 + v]));
    expected += std::log(sum) -
                static_cast<double>(logits[t * 64 + static_cast<size_t>(prompts[0][t + 1])]);
  }
  EXPECT_NEAR(Score(*runner, plan, prompts[0]).nll_sum, expected, 1e-4);
}

TEST(ModelRunner, AScoreDoesNotDependOnItsCompany) {
  const Tiny tiny;
  const auto runner = tiny.Runner();
  const std::vector<TokenIds> prompts = {RandomPrompt(50, 64, 3)};
  const std::vector<PrecisionPlan> plans = {{{kInt4Pair, kInt8Pair, kInt4Pair}},
                                            {{kInt4Pair, kInt8Pair, kInt2Pair}},
                                            {{kInt8Pair, kInt8Pair, kInt4Pair}},
                                            {{kInt4Pair, kInt8Pair, kInt4Pair}}};
  const auto together = runner->ScorePlans(plans, prompts, nullptr);
  for (size_t i = 0; i < plans.size(); ++i) {
    EXPECT_EQ(together[i][0].token_kl, Score(*runner, plans[i], prompts[0]).token_kl);
  }
  EXPECT_EQ(together[0][0].token_kl, together[3][0].token_kl);
}

using LossesByPlan = std::vector<std::vector<PromptScore>>;

void ExpectSameBits(const LossesByPlan& a, const LossesByPlan& b) {
  ASSERT_EQ(a.size(), b.size());
  for (size_t i = 0; i < a.size(); ++i) {
    ASSERT_EQ(a[i].size(), b[i].size());
    for (size_t p = 0; p < a[i].size(); ++p) {
      EXPECT_EQ(a[i][p].token_kl, b[i][p].token_kl) << "plan " << i << ", prompt " << p;
      EXPECT_EQ(a[i][p].nll_sum, b[i][p].nll_sum);
      EXPECT_EQ(a[i][p].top1_matches, b[i][p].top1_matches);
    }
  }
}

// Plans of every kind of format, with common prefixes, an exact one and a repeated one; prompts of
// several lengths, one of them longer than what goes through an MLP in one piece.
struct Population {
  std::vector<PrecisionPlan> plans = {
      {{kInt4Pair, kInt8Pair, kInt4Pair}},
      {{kInt4Pair, kInt8Pair, kInt2Pair}},
      {{kInt4Pair, {KvFormatId::kInt8, KvFormatId::kInt2}, kInt4Pair}},
      {{{KvFormatId::kKiviInt4, KvFormatId::kInt4}, kInt8Pair, kExactPair}},
      PrecisionPlan::Uniform(kExactPair, 3),
      {{kInt4Pair, kInt8Pair, kInt4Pair}}};
  std::vector<TokenIds> prompts = {RandomPrompt(50, 64, 3), RandomPrompt(200, 64, 4),
                                   RandomPrompt(2, 64, 5), RandomPrompt(33, 64, 6),
                                   RandomPrompt(50, 64, 3)};
};

LossesByPlan ScoreAll(ModelRunner& runner, const Population& population) {
  return runner.ScorePlans(population.plans, population.prompts, nullptr);
}

TEST(ModelRunner, ThreadsChangeNoBit) {
  const Tiny tiny;
  const Population population;
  for (const DataType type : {DataType::kFloat32, DataType::kBFloat16}) {
    const LossesByPlan losses =
        ScoreAll(*tiny.Runner({.data_type = type, .threads = 1}), population);
    for (const int threads :
         {2, 3, 16}) {  // 16: fewer prompts than threads, which then share a prompt
      ExpectSameBits(ScoreAll(*tiny.Runner({.data_type = type, .threads = threads}), population),
                     losses);
    }
  }
}

TEST(ModelRunner, SharingChangesNoBit) {
  const Tiny tiny;
  const Population population;
  const LossesByPlan losses = ScoreAll(*tiny.Runner(ModelOptions{}), population);
  for (const Sharing sharing : {Sharing::kNothing, Sharing::kReferenceLogits, Sharing::kPrefixes}) {
    ExpectSameBits(ScoreAll(*tiny.Runner(ModelOptions{}, {.sharing = sharing}), population),
                   losses);
  }
}

void ExpectSameBits(const LayerObservation& a, const LayerObservation& b) {
  EXPECT_EQ(a.concentration_sum, b.concentration_sum);
  EXPECT_EQ(a.key_channel_max, b.key_channel_max);
  EXPECT_EQ(a.key_bias_norm, b.key_bias_norm);
  ASSERT_EQ(a.pairs.size(), b.pairs.size());
  for (size_t i = 0; i < a.pairs.size(); ++i) {
    for (size_t h = 0; h < a.pairs[i].kv_heads.size(); ++h) {
      const HeadErrorSums &x = a.pairs[i].kv_heads[h], &y = b.pairs[i].kv_heads[h];
      EXPECT_EQ(x.k_error, y.k_error);
      EXPECT_EQ(x.v_error, y.v_error);
      EXPECT_EQ(x.a_error, y.a_error);
      EXPECT_EQ(x.o_error, y.o_error);
      EXPECT_EQ(x.o_total, y.o_total);
    }
  }
}

TEST(ModelRunner, StreamedWeightsGiveTheSameBits) {
  TinyModel model;
  model.architecture = "Qwen2ForCausalLM";  // with key biases
  const Tiny tiny(model);
  const Population population;
  const std::vector<PrecisionPair> pairs = {kInt8Pair, {KvFormatId::kKiviInt4, KvFormatId::kInt4}};
  for (const PrefillMode prefill : {PrefillMode::kQuantized, PrefillMode::kExact}) {
    const auto resident = tiny.Runner({.prefill = prefill, .weights = WeightMode::kResident});
    EXPECT_FALSE(resident->streams_weights());
    const LossesByPlan losses = ScoreAll(*resident, population);
    const std::vector<LayerObservation> observed =
        resident->ObserveAttention(population.prompts, pairs, nullptr);
    EXPECT_GT(observed[0].key_bias_norm, 0);
    // 1 byte: all activations wait in the temporary file; 10000: some do.
    for (const uint64_t activation_bytes : {0u, 1u, 10000u}) {
      const auto streamed = tiny.Runner({.threads = 2,
                                         .prefill = prefill,
                                         .weights = WeightMode::kStream,
                                         .max_activation_bytes = activation_bytes});
      EXPECT_TRUE(streamed->streams_weights());
      ExpectSameBits(ScoreAll(*streamed, population), losses);
      ExpectSameBits(ScoreAll(*streamed, population),
                     losses);  // again: the references are known now
      EXPECT_EQ(streamed->Logits(population.prompts[1], population.plans[0]),
                resident->Logits(population.prompts[1], population.plans[0]));
      const std::vector<LayerObservation> again =
          streamed->ObserveAttention(population.prompts, pairs, nullptr);
      for (size_t layer = 0; layer < observed.size(); ++layer)
        ExpectSameBits(again[layer], observed[layer]);
    }
  }
}

TEST(ModelRunner, ProgressCountsEveryPromptOnce) {
  const Tiny tiny;
  const Population population;
  for (const WeightMode mode : {WeightMode::kResident, WeightMode::kStream}) {
    int64_t prompts = 0;
    tiny.Runner({.weights = mode})
        ->ScorePlans(population.plans, population.prompts,
                     [&](int64_t count) { prompts += count; });
    EXPECT_EQ(prompts, 5);
  }
}

TEST(ModelRunner, StreamingNamesADamagedLayerWhenItGetsThere) {
  TinyModel model;
  TemporaryDirectory directory;
  WriteTinyCheckpoint(model, directory.path());
  // The last bytes of the file are the final norm; those before it the last layer's down
  // projection.
  const std::filesystem::path file = directory.path() / "model.safetensors";
  std::string content = ReadFile(file);
  content.replace(content.size() - 4 * 32 - 4, 4, std::string("\0\0\xc0\x7f", 4));  // NaN
  WriteFileAtomically(file, content);
  const Checkpoint checkpoint(directory.path());
  ModelOptions options{.device = "cpu", .weights = WeightMode::kStream};
  ModelRunner runner(checkpoint, options);
  const Population population;
  for (int i = 0; i < 2; ++i) {
    EXPECT_THAT([&] { ScoreAll(runner, population); },
                ::testing::ThrowsMessage<Error>(
                    HasSubstr("model.layers.2.mlp.down_proj.weight: found NaN")));
  }
}

TEST(ModelRunner, NoiseFloorIsThatOfTheDataType) {
  const Tiny tiny;
  const Population population;
  const auto floor = [&](DataType type) {
    return tiny.Runner({.data_type = type})->NoiseFloor(population.prompts);
  };
  const double wide = floor(DataType::kFloat32), half = floor(DataType::kFloat16),
               narrow = floor(DataType::kBFloat16);
  EXPECT_GT(wide, 0);
  EXPECT_LT(wide, 1e-11);  // of second order in 2^-24
  // KL is of second order: 3 bits of mantissa are a factor of 64.
  EXPECT_GT(narrow, 10 * half);
  EXPECT_GT(half, 1e4 * wide);
  EXPECT_EQ(floor(DataType::kBFloat16), narrow);
  EXPECT_EQ(
      tiny.Runner({.data_type = DataType::kBFloat16, .threads = 3, .weights = WeightMode::kStream})
          ->NoiseFloor(population.prompts),
      narrow);
}

TEST(ModelRunner, FewerBitsLoseMore) {
  const Tiny tiny;
  const auto runner = tiny.Runner();
  const TokenIds prompt = RandomPrompt(80, 64, 3);
  std::vector<float> sums;
  for (const PrecisionPair pair : {kInt8Pair, kInt4Pair, kInt2Pair}) {
    const std::vector<float> token_kl =
        Score(*runner, PrecisionPlan::Uniform(pair, 3), prompt).token_kl;
    sums.push_back(std::accumulate(token_kl.begin(), token_kl.end(), 0.0f));
  }
  EXPECT_LT(sums[0], sums[1]);
  EXPECT_LT(sums[1], sums[2]);
}

TEST(ModelRunner, ExactPrefillScoresTheSecondHalfOnly) {
  const Tiny tiny;
  const auto runner = tiny.Runner(PrefillMode::kExact);
  const PromptScore losses =
      Score(*runner, PrecisionPlan::Uniform(kInt4Pair, 3), RandomPrompt(41, 64, 3));
  EXPECT_EQ(losses.token_kl.size(), 20u);
}

TEST(ModelRunner, ObservationsAreZeroForExactAndOrderedByBits) {
  const Tiny tiny;
  const auto runner = tiny.Runner();
  const std::vector<TokenIds> prompts = {RandomPrompt(70, 64, 3)};
  const std::vector<PrecisionPair> pairs = {kExactPair, kInt8Pair, kInt4Pair, kInt2Pair};
  for (const LayerObservation& layer : runner->ObserveAttention(prompts, pairs, nullptr)) {
    for (size_t h = 0; h < 2; ++h) {
      const auto& exact = layer.pairs[0].kv_heads[h];
      EXPECT_EQ(exact.k_error + exact.v_error + exact.a_error + exact.o_error, 0);
      EXPECT_GT(exact.o_total, 0);
      for (size_t i = 1; i < pairs.size(); ++i) {
        const auto& fewer = layer.pairs[i].kv_heads[h];
        const auto& more = layer.pairs[i - 1].kv_heads[h];
        EXPECT_GT(fewer.k_error, more.k_error);
        EXPECT_GT(fewer.v_error, more.v_error);
        EXPECT_GT(fewer.a_error, more.a_error);
        EXPECT_GT(fewer.o_error, more.o_error);
      }
      // 70 queries of 2 query heads: 1 + 2 + ... + 70 visible pairs each.
      EXPECT_EQ(exact.a_count, 2 * 70 * 71 / 2);
    }
    for (const double sum : layer.concentration_sum) {
      EXPECT_GT(sum / layer.concentration_count, 1.0 / 70);
      EXPECT_LE(sum / layer.concentration_count, 1.0);
    }
  }
}

TEST(ModelRunner, SlidingLayersCountTheKeysThatTheySee) {
  TinyModel model;
  model.architecture = "GptOssForCausalLM";  // layers 0 and 2 slide
  model.window = 20;
  const Tiny tiny(model);
  const std::vector<TokenIds> prompts = {RandomPrompt(70, 64, 3)};
  const std::vector<PrecisionPair> pairs = {kInt4Pair};
  const std::vector<LayerObservation> layers =
      tiny.Runner()->ObserveAttention(prompts, pairs, nullptr);
  EXPECT_EQ(layers[0].pairs[0].kv_heads[0].a_count, 2 * (20 * 21 / 2 + 50 * 20));
  EXPECT_EQ(layers[1].pairs[0].kv_heads[0].a_count, 2 * 70 * 71 / 2);
}

TEST(ModelRunner, RunsInBFloat16) {
  TinyModel model;
  model.architecture = "Gemma2ForCausalLM";
  model.window = 19;
  const Tiny tiny(model);
  const auto runner = tiny.Runner({.data_type = DataType::kBFloat16});
  EXPECT_EQ(runner->data_type_name(), "bfloat16");
  const PrecisionPlan plan{{{KvFormatId::kKiviInt4, KvFormatId::kKiviInt4}, kInt4Pair, kExactPair}};
  const PromptScore losses = Score(*runner, plan, RandomPrompt(40, 64, 1));
  ASSERT_EQ(losses.token_kl.size(), 39u);
  for (const float kl : losses.token_kl) EXPECT_TRUE(std::isfinite(kl));
}

// What libtorch throws is one line of an Error, not a stack trace.
TEST(ModelRunner, ErrorsOfLibtorchAreErrorsInOneLine) {
  const Tiny tiny;
  const auto runner = tiny.Runner();
  const TokenIds beyond_the_vocabulary = {1, 1000000};
  try {
    runner->Logits(beyond_the_vocabulary, PrecisionPlan::Uniform(kExactPair, 3));
    FAIL() << "found no error";
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), ::testing::StartsWith("computing logits: libtorch failed: "));
    EXPECT_THAT(error.what(), ::testing::Not(HasSubstr("\n")));
  }
  EXPECT_THROW(runner->ObserveAttention(std::span(&beyond_the_vocabulary, 1), {}, nullptr), Error);
  EXPECT_THROW(runner->ExactPasses(std::span(&beyond_the_vocabulary, 1)), Error);
  EXPECT_THROW(runner->NoiseFloor(std::span(&beyond_the_vocabulary, 1)), Error);
}

TEST(ModelRunner, RefusesAnUnknownDevice) {
  const Tiny tiny;
  TemporaryDirectory directory;
  WriteTinyCheckpoint({}, directory.path());
  const Checkpoint checkpoint(directory.path());
  ModelOptions options;
  options.device = "tpu";
  EXPECT_THAT([&] { ModelRunner runner(checkpoint, options); },
              ::testing::ThrowsMessage<Error>(
                  HasSubstr("found \"tpu\", expected auto, cpu, cuda or cuda:N")));
}

}  // namespace
}  // namespace kvtune
