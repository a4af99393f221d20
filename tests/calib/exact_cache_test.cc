#include "lib/calib/exact_cache.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "lib/base/error.h"
#include "lib/base/file.h"
#include "tests/calib/tiny_runner.h"
#include "tests/support/fake_model.h"
#include "tests/support/test_data.h"

namespace kvtune {
namespace {

using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

const ExactCacheKey kKey = {.version = "1",
                            .model_hash = "m",
                            .prompts_hash = "p",
                            .device = "cpu",
                            .dtype = "float32",
                            .prefill = "quantized"};

// Of a plan at 2 bits: mean KLs and the rest, prompt by prompt.
std::vector<double> LossesOf(MeasuredModel& runner, std::span<const TokenIds> prompts) {
  const PrecisionPlan plan = PrecisionPlan::Uniform(kKV2, 3);
  const std::vector<std::vector<PromptScore>> scored =
      runner.ScorePlans(std::span(&plan, 1), prompts, nullptr);
  std::vector<double> losses;
  for (const PromptScore& prompt : scored.front()) {
    losses.insert(losses.end(), prompt.token_kl.begin(), prompt.token_kl.end());
    losses.push_back(prompt.nll_sum);
    losses.push_back(static_cast<double>(prompt.top1_matches));
  }
  return losses;
}

TEST(ExactCache, ARestoredPassScoresToTheSameBits) {
  const TemporaryDirectory folder;
  const std::vector<TokenIds> prompts = RandomPrompts(3);
  TinyRunner first;
  EXPECT_EQ(UseExactCache(folder.path(), kKey, first.model(), prompts), CacheUse::kStored);
  TinyRunner second;
  EXPECT_EQ(UseExactCache(folder.path(), kKey, second.model(), prompts), CacheUse::kUsed);
  EXPECT_EQ(second.model().ExactPasses(prompts), first.model().ExactPasses(prompts));
  TinyRunner plain;
  EXPECT_EQ(LossesOf(second.model(), prompts), LossesOf(plain.model(), prompts));
}

// As on a GPU, where the last bits of a prompt depend on how many run with it.
class RoundsByCompany : public FakeModel {
 public:
  using FakeModel::FakeModel;

  std::vector<ExactPass> ExactPasses(std::span<const TokenIds> prompts) override {
    std::vector<TokenIds> unknown;
    for (const TokenIds& prompt : prompts) {
      if (known_.insert(prompt).second) unknown.push_back(prompt);
    }
    std::vector<ExactPass> passes = FakeModel::ExactPasses(unknown);
    for (ExactPass& pass : passes) pass.nll_sum += 1e-9 * static_cast<double>(unknown.size());
    RestoreExactPasses(unknown, passes);
    return FakeModel::ExactPasses(prompts);
  }

 private:
  std::set<TokenIds> known_;
};

TEST(ExactCache, AnEntryServesWherePromptsThatRunTogetherRoundOtherwise) {
  const TemporaryDirectory folder;
  const std::vector<TokenIds> prompts = RandomPrompts(3);
  FakeModelScript script{.losses = {.layer_weights = {1, 1, 1}}};
  RoundsByCompany first(FakeConfig(3), script), second(FakeConfig(3), script);
  EXPECT_EQ(UseExactCache(folder.path(), kKey, first, prompts), CacheUse::kStored);
  EXPECT_EQ(UseExactCache(folder.path(), kKey, second, prompts), CacheUse::kUsed);
}

TEST(ExactCache, EveryPartOfTheKeyHasItsOwnFile) {
  const auto with = [](std::string ExactCacheKey::*part) {
    ExactCacheKey key = kKey;
    key.*part = "other";
    return ExactCacheFile("folder", key);
  };
  for (const auto part :
       {&ExactCacheKey::version, &ExactCacheKey::model_hash, &ExactCacheKey::prompts_hash,
        &ExactCacheKey::device, &ExactCacheKey::dtype, &ExactCacheKey::prefill}) {
    EXPECT_NE(with(part), ExactCacheFile("folder", kKey));
  }
}

TEST(ExactCache, ADamagedEntryIsMadeAnew) {
  const TemporaryDirectory folder;
  const std::vector<TokenIds> prompts = RandomPrompts(2);
  TinyRunner tiny;
  UseExactCache(folder.path(), kKey, tiny.model(), prompts);
  const std::filesystem::path file = ExactCacheFile(folder.path(), kKey);
  const std::string whole = ReadFile(file);
  std::string flipped = whole;
  flipped[whole.size() - 5] ^= 1;
  for (const std::string& damaged : {std::string(), whole.substr(0, whole.size() / 2), flipped}) {
    WriteFileAtomically(file, damaged);
    EXPECT_EQ(UseExactCache(folder.path(), kKey, tiny.model(), prompts), CacheUse::kReplaced);
    EXPECT_EQ(ReadFile(file), whole);
  }
}

// As on a machine that rounds otherwise: the entry is whole, but of other weights.
TEST(ExactCache, AnEntryThatThisMachineDoesNotReproduceIsMadeAnew) {
  const TemporaryDirectory folder;
  const std::vector<TokenIds> prompts = RandomPrompts(2);
  TinyModel other;
  other.seed = 5;
  TinyRunner first(other);
  UseExactCache(folder.path(), kKey, first.model(), prompts);
  TinyRunner tiny;
  EXPECT_EQ(UseExactCache(folder.path(), kKey, tiny.model(), prompts), CacheUse::kReplaced);
  EXPECT_NE(tiny.model().ExactPasses(prompts), first.model().ExactPasses(prompts));
}

TEST(ExactCache, APassOfAnotherLengthIsRefused) {
  TinyRunner tiny;
  const std::vector<TokenIds> prompts = RandomPrompts(2);
  std::vector<ExactPass> passes = tiny.model().ExactPasses(prompts);
  std::swap(passes[0], passes[1]);
  EXPECT_THAT([&] { tiny.model().RestoreExactPasses(prompts, passes); },
              ThrowsMessage<Error>(HasSubstr("bytes for a prompt of 20 tokens, expected")));
}

}  // namespace
}  // namespace kvtune
