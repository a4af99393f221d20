// Prompts that go through the layers together, padded to one length. A CPU takes prompts one by
// one, so these tests ask it for batches.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <vector>

#include "lib/base/file.h"
#include "lib/base/json_fields.h"
#include "lib/runner/torch.h"
#include "lib/targets/target.h"
#include "tests/runner/decoding_cases.h"

namespace kvtune {
namespace {

constexpr int64_t kManyRows = 1 << 20;
constexpr ProbeOptions kAlone{.arithmetic = ProbeArithmetic::kFloat64, .batch_rows = 0};
constexpr ProbeOptions kTogether{.arithmetic = ProbeArithmetic::kFloat64, .batch_rows = kManyRows};

using ScoresByPlan = std::vector<std::vector<PromptScore>>;

// The layers are float64, in which sums over longer sequences may round otherwise, and the logits
// float32. So losses are the same numbers, except where a logit is between two float32 numbers.
void ExpectSameScores(const ScoresByPlan& found, const ScoresByPlan& expected,
                      const std::string& what = "") {
  ASSERT_EQ(found.size(), expected.size());
  for (size_t plan = 0; plan < found.size(); ++plan) {
    ASSERT_EQ(found[plan].size(), expected[plan].size());
    for (size_t prompt = 0; prompt < found[plan].size(); ++prompt) {
      SCOPED_TRACE(what + " plan " + std::to_string(plan) + ", prompt " + std::to_string(prompt));
      const PromptScore &a = found[plan][prompt], &b = expected[plan][prompt];
      EXPECT_EQ(a.tokens, b.tokens);
      EXPECT_EQ(a.first_position, b.first_position);
      EXPECT_EQ(a.top1_matches, b.top1_matches);
      EXPECT_NEAR(a.kl_sum, b.kl_sum, 1e-6 * b.kl_sum + 1e-12);
      EXPECT_NEAR(a.nll_sum, b.nll_sum, 1e-6 * b.nll_sum);
      EXPECT_NEAR(a.exact_nll_sum, b.exact_nll_sum, 1e-6 * b.exact_nll_sum);
      EXPECT_NEAR(a.total_variation_sum.value(), b.total_variation_sum.value(),
                  1e-6 * b.total_variation_sum.value());
      ASSERT_EQ(a.token_kl.size(), b.token_kl.size());
      ASSERT_EQ(a.token_nll.size(), b.token_nll.size());
      for (size_t token = 0; token < a.token_kl.size(); ++token) {
        EXPECT_NEAR(a.token_kl[token], b.token_kl[token], 1e-4 * b.token_kl[token] + 1e-9);
        EXPECT_NEAR(a.token_nll[token], b.token_nll[token], 1e-6 * b.token_nll[token]);
      }
    }
  }
}

// Some lengths that share batches. Whole groups of 32 and of 128 tokens end within, at and behind
// them, so that padding completes groups that a prompt alone leaves unfinished.
std::vector<TokenIds> PromptsOfLengths(const std::vector<int64_t>& lengths, int64_t vocab = 64) {
  std::vector<TokenIds> prompts;
  for (const int64_t tokens : lengths)
    prompts.push_back(RandomPrompt(tokens, vocab, static_cast<uint64_t>(tokens)));
  return prompts;
}
const std::vector<int64_t> kEdgesOfGroups = {127, 135, 128, 130};

std::vector<PrecisionPair> PairsOfAllTargets() {
  std::set<PrecisionPair> pairs;
  for (const Target& target : Targets()) pairs.insert(target.pairs.begin(), target.pairs.end());
  return {pairs.begin(), pairs.end()};
}

// Plans with common prefixes and without, of formats with and without residual windows, an exact
// one and a repeated one. In the last layer, neighbouring parents have only children of one key
// format but of other value formats.
std::vector<PrecisionPlan> SomePlans() {
  using enum KvFormatId;
  return {{{kInt4Pair, kInt8Pair, kInt4Pair}},
          {{kInt4Pair, kInt8Pair, kInt2Pair}},
          {{kInt4Pair, {kInt8, kInt2}, kInt4Pair}},
          {{{kKiviInt8, kInt4}, kInt8Pair, {kInt4, kInt2}}},
          {{{kKiviInt4, kInt4}, kInt8Pair, kExactPair}},
          {{{kKiviInt4, kInt4}, {kQuantoInt4, kQuantoInt2}, {kKiviInt4, kKiviInt2}}},
          PrecisionPlan::Uniform(kExactPair, 3),
          {{kInt4Pair, kInt8Pair, kInt4Pair}}};
}

// A plan alone: prompts attend together, as the only children of their parents.
TEST(BatchedPrompts, ScoreAsAloneUnderEveryPairOfEveryTarget) {
  const Tiny tiny(TinyModel{.layers = 2, .head_dim = 64});
  const std::vector<TokenIds> prompts = PromptsOfLengths(kEdgesOfGroups);
  const auto alone = tiny.Runner(ModelOptions{}, kAlone);
  const auto together = tiny.Runner(ModelOptions{}, kTogether);
  for (ModelRunner* runner : {alone.get(), together.get()}) LearnMaxima(*runner, prompts[0]);
  const std::vector<PrecisionPair> pairs = PairsOfAllTargets();
  ASSERT_GT(pairs.size(), 100u);
  for (const PrecisionPair pair : pairs) {
    const std::vector<PrecisionPlan> plans = {PrecisionPlan::Uniform(pair, 2)};
    ExpectSameScores(
        together->ScorePlans(plans, prompts, nullptr), alone->ScorePlans(plans, prompts, nullptr),
        std::string(FormatOf(pair.key).name) + " " + std::string(FormatOf(pair.value).name));
  }
}

// Float32 has kernels of its own. Its sums in another order move some values over a quantization
// step too.
TEST(BatchedPrompts, ScoreAboutAsAloneInFloat32) {
  const Tiny tiny;
  const std::vector<TokenIds> prompts = PromptsOfLengths(kEdgesOfGroups);
  const auto expected =
      tiny.Runner(ModelOptions{}, {.batch_rows = 0})->ScorePlans(SomePlans(), prompts, nullptr);
  const auto found = tiny.Runner(ModelOptions{}, {.batch_rows = kManyRows})
                         ->ScorePlans(SomePlans(), prompts, nullptr);
  for (size_t plan = 0; plan < found.size(); ++plan) {
    for (size_t prompt = 0; prompt < prompts.size(); ++prompt) {
      const double loss = expected[plan][prompt].kl_sum;
      EXPECT_NEAR(found[plan][prompt].kl_sum, loss, 1e-4 * loss) << plan << " " << prompt;
    }
  }
}

TEST(BatchedPrompts, AreWhatACpuDoesNotDoByItself) {
  const Tiny tiny;
  const std::vector<TokenIds> prompts = PromptsOfLengths(kEdgesOfGroups);
  const auto usual = tiny.Runner()->ScorePlans(SomePlans(), prompts, nullptr);
  const auto alone =
      tiny.Runner(ModelOptions{}, {.batch_rows = 0})->ScorePlans(SomePlans(), prompts, nullptr);
  for (size_t plan = 0; plan < usual.size(); ++plan) {
    for (size_t prompt = 0; prompt < prompts.size(); ++prompt)
      EXPECT_EQ(usual[plan][prompt].token_kl, alone[plan][prompt].token_kl);
  }
}

class BatchedDecodingCases : public ::testing::TestWithParam<DecodingCase> {};

TEST_P(BatchedDecodingCases, ScoreAsAlone) {
  const DecodingCase& test_case = GetParam();
  const Tiny tiny(test_case.model);
  const std::vector<TokenIds> prompts =
      PromptsOfLengths({42, 100, 31, 2, 41, 97, 33, 40, 32, 3}, test_case.model.vocab);
  const std::vector<PrecisionPlan> plans = {test_case.plan};
  const ModelOptions options{.prefill = test_case.prefill};
  const auto alone = tiny.Runner(options, kAlone);
  const auto together = tiny.Runner(options, kTogether);
  for (ModelRunner* runner : {alone.get(), together.get()}) LearnMaxima(*runner, prompts[1]);
  ExpectSameScores(together->ScorePlans(plans, prompts, nullptr),
                   alone->ScorePlans(plans, prompts, nullptr));
}

INSTANTIATE_TEST_SUITE_P(Formats, BatchedDecodingCases, ::testing::ValuesIn(DecodingCases()),
                         [](const auto& test) { return test.param.name; });

// Batches of one prompt, of two and of all of them; layers in pieces of a part of a batch.
TEST(BatchedPrompts, ScoreAsAloneUnderManyPlansForAnyNumberOfRows) {
  const Tiny tiny;
  const std::vector<TokenIds> prompts = PromptsOfLengths({50, 200, 2, 47, 199, 50, 33});
  for (const PrefillMode prefill : {PrefillMode::kQuantized, PrefillMode::kExact}) {
    const ModelOptions options{.prefill = prefill};
    const auto expected = tiny.Runner(options, kAlone)->ScorePlans(SomePlans(), prompts, nullptr);
    for (const int64_t rows : {600, 1000, 3000}) {
      for (const Sharing sharing : {Sharing::kNothing, Sharing::kPrefixes, Sharing::kAttention}) {
        ProbeOptions probe = kTogether;
        probe.batch_rows = rows;
        probe.sharing = sharing;
        ExpectSameScores(tiny.Runner(options, probe)->ScorePlans(SomePlans(), prompts, nullptr),
                         expected, std::to_string(rows) + " rows,");
      }
    }
  }
}

// Prompts of up to 32 tokens turn by other frequencies than longer ones, so they share no batch.
TEST(BatchedPrompts, KeepTheirOwnRotaryFrequencies) {
  TemporaryDirectory directory;
  WriteTinyCheckpoint({}, directory.path());
  const std::filesystem::path file = directory.path() / "config.json";
  Json config = ParseJson(ReadFile(file), file.string());
  config["rope_scaling"] = {{"rope_type", "longrope"},
                            {"short_factor", std::vector<double>(8, 1.0)},
                            {"long_factor", std::vector<double>(8, 4.0)},
                            {"original_max_position_embeddings", 32}};
  WriteFileAtomically(file, config.dump());
  const Checkpoint checkpoint(directory.path());
  const std::vector<TokenIds> prompts = PromptsOfLengths({31, 34, 32, 33});
  const ModelOptions options{.device = "cpu"};
  ModelProbe alone(checkpoint, options, kAlone), together(checkpoint, options, kTogether);
  ExpectSameScores(together.ScorePlans(SomePlans(), prompts, nullptr),
                   alone.ScorePlans(SomePlans(), prompts, nullptr));
}

TEST(BatchedPrompts, StreamAndSplitLayersAndKeepToTheMemory) {
  const Tiny tiny;
  const std::vector<TokenIds> prompts = PromptsOfLengths({50, 200, 2, 47, 199, 50, 33});
  const auto expected =
      tiny.Runner(ModelOptions{}, kAlone)->ScorePlans(SomePlans(), prompts, nullptr);
  // 1 byte: no batch has several prompts, and all of them wait in the temporary file. 200,000: some
  // do.
  for (const uint64_t bytes : {0u, 1u, 200000u}) {
    for (const ModelOptions& options :
         {ModelOptions{.threads = 2, .max_activation_bytes = bytes},
          ModelOptions{.threads = 2, .weights = WeightMode::kStream, .max_activation_bytes = bytes},
          ModelOptions{.threads = 2, .split_layers = 2, .max_activation_bytes = bytes}}) {
      int64_t finished = 0;
      const auto runner = tiny.Runner(options, kTogether);
      ExpectSameScores(runner->ScorePlans(SomePlans(), prompts,
                                          [&](int64_t count) {
                                            EXPECT_GT(count, 0);
                                            finished += count;
                                          }),
                       expected, std::to_string(bytes) + " bytes,");
      EXPECT_EQ(finished, std::ssize(prompts));
    }
  }
}

TEST(BatchedPrompts, HaveTheExactPassesAndTheNoiseFloorOfThoseAlone) {
  const Tiny tiny;
  const std::vector<TokenIds> prompts = PromptsOfLengths(kEdgesOfGroups);
  const auto alone = tiny.Runner(ModelOptions{}, {.batch_rows = 0});
  const auto together = tiny.Runner(ModelOptions{}, {.batch_rows = kManyRows});
  const std::vector<ExactPass> expected = alone->ExactPasses(prompts);
  const std::vector<ExactPass> found = together->ExactPasses(prompts);
  for (size_t i = 0; i < prompts.size(); ++i) {
    EXPECT_EQ(found[i].hidden.size(), expected[i].hidden.size());
    EXPECT_EQ(found[i].scored, expected[i].scored);
    EXPECT_EQ(found[i].top1_matches, expected[i].top1_matches);
    EXPECT_NEAR(found[i].nll_sum, expected[i].nll_sum, 1e-5 * expected[i].nll_sum);
  }
  // The values are moved in other directions, so the floors are two samples of one distribution.
  const double floor = alone->NoiseFloor(prompts), of_batch = together->NoiseFloor(prompts);
  EXPECT_NE(of_batch, floor);
  EXPECT_NEAR(of_batch, floor, 0.5 * floor);
}

class BatchesOnAGpu : public ::testing::TestWithParam<DataType> {
 protected:
  void SetUp() override {
    if (!at::hasCUDA()) GTEST_SKIP() << "no CUDA device";
  }

  static ScoresByPlan Score(const Checkpoint& checkpoint, const std::vector<TokenIds>& prompts,
                            const std::vector<PrecisionPlan>& plans, const ProbeOptions& probe) {
    ModelProbe runner(checkpoint, {.device = "cuda", .data_type = GetParam()}, probe);
    LearnMaxima(runner, prompts[0]);
    return runner.ScorePlans(plans, prompts, nullptr);
  }
};

std::vector<PrecisionPlan> PlansOfAGpu() {
  using enum KvFormatId;
  std::vector<PrecisionPlan> plans;
  for (const PrecisionPair pair :
       {kInt4Pair, PrecisionPair{kKiviInt4, kKiviInt4}, PrecisionPair{kQuantoInt4, kQuantoInt4},
        PrecisionPair{kQ4_0, kQ4_0}, PrecisionPair{kKiviInt4, kQuantoInt4}})
    plans.push_back(PrecisionPlan::Uniform(pair, 3));
  return plans;
}

// Products of other shapes round otherwise, which moves values over quantization steps. In half
// precision that is a part of the loss.
TEST_P(BatchesOnAGpu, ScoreAboutAsAlone) {
  const TemporaryDirectory directory;
  WriteTinyCheckpoint({.hidden = 64, .head_dim = 64, .vocab = 256}, directory.path());
  const Checkpoint checkpoint(directory.path());
  const std::vector<TokenIds> prompts = PromptsOfLengths({200, 225, 223, 225, 210, 191}, 256);
  const double part = GetParam() == DataType::kFloat32 ? 0.01 : 0.25;
  for (const PrecisionPlan& plan : PlansOfAGpu()) {
    const auto alone = Score(checkpoint, prompts, {plan}, {.batch_rows = 0});
    const auto together = Score(checkpoint, prompts, {plan}, {});
    for (size_t i = 0; i < prompts.size(); ++i) {
      const PromptScore &a = together[0][i], &b = alone[0][i];
      EXPECT_EQ(a.tokens, b.tokens);
      EXPECT_NEAR(a.kl_sum, b.kl_sum, part * b.kl_sum) << i;
      EXPECT_NEAR(a.nll_sum, b.nll_sum, 0.01 * b.nll_sum) << i;
      EXPECT_NEAR(a.exact_nll_sum, b.exact_nll_sum, 0.01 * b.exact_nll_sum) << i;
    }
  }
}

// The same kernels run over the same shapes, so that nothing but other prompts could change a bit.
TEST_P(BatchesOnAGpu, DoNotShowAPromptTheOthers) {
  const TemporaryDirectory directory;
  WriteTinyCheckpoint({.hidden = 64, .head_dim = 64, .vocab = 256}, directory.path());
  const Checkpoint checkpoint(directory.path());
  std::vector<TokenIds> prompts = PromptsOfLengths({200, 225, 223}, 256);
  for (const PrecisionPlan& plan : PlansOfAGpu()) {
    const auto before = Score(checkpoint, prompts, {plan}, {});
    prompts[1] = RandomPrompt(225, 256, prompts[1][0] + 7u);
    const auto after = Score(checkpoint, prompts, {plan}, {});
    EXPECT_NE(after[0][1].token_kl, before[0][1].token_kl);
    for (const size_t i : {0, 2}) EXPECT_EQ(after[0][i].token_kl, before[0][i].token_kl) << i;
  }
}

INSTANTIATE_TEST_SUITE_P(Types, BatchesOnAGpu,
                         ::testing::Values(DataType::kFloat32, DataType::kBFloat16),
                         [](const auto& test) {
                           return test.param == DataType::kFloat32 ? "Float32" : "BFloat16";
                         });

}  // namespace
}  // namespace kvtune
