#include "lib/runner/prompt_batches.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <utility>

#include "lib/base/random.h"

namespace kvtune {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr int64_t kManyRows = 1 << 20;

std::vector<BatchedPrompt> OfLengths(const std::vector<int64_t>& lengths) {
  std::vector<BatchedPrompt> prompts;
  for (const int64_t tokens : lengths) prompts.push_back({.tokens = tokens});
  return prompts;
}

std::vector<std::vector<size_t>> PromptsOf(const std::vector<PromptBatch>& batches) {
  std::vector<std::vector<size_t>> prompts;
  for (const PromptBatch& batch : batches) prompts.push_back(batch.prompts);
  return prompts;
}

TEST(PromptBatches, JoinNeighbouringLengths) {
  const std::vector<BatchedPrompt> prompts = OfLengths({90, 300, 100, 290, 20});
  const std::vector<PromptBatch> batches = FormBatches(prompts, 1, kManyRows);
  EXPECT_THAT(PromptsOf(batches),
              ElementsAre(ElementsAre(1, 3), ElementsAre(2, 0), ElementsAre(4)));
  EXPECT_EQ(batches[0].tokens, 300);
  EXPECT_EQ(batches[1].tokens, 100);
  EXPECT_THAT(FormBatches({}, 1, kManyRows), IsEmpty());
}

TEST(PromptBatches, HaveAnEighthOfPaddingAtMost) {
  // Of 8 * 100 rows 100 may be padding, whoever brings it.
  EXPECT_THAT(FormBatches(OfLengths({100, 75}), 1, kManyRows), SizeIs(1));
  EXPECT_THAT(FormBatches(OfLengths({100, 74}), 1, kManyRows), SizeIs(2));
  EXPECT_THAT(FormBatches(OfLengths({100, 100, 100, 100, 100, 100, 100, 1}), 1, kManyRows),
              SizeIs(1));
  EXPECT_THAT(FormBatches(OfLengths({100, 100, 100, 100, 100, 100, 1}), 1, kManyRows), SizeIs(2));
}

TEST(PromptBatches, CountTheRowsOfEveryVariant) {
  const std::vector<BatchedPrompt> prompts = OfLengths(std::vector<int64_t>(32, 200));
  EXPECT_THAT(FormBatches(prompts, 1, 32 * 200), SizeIs(1));
  EXPECT_THAT(FormBatches(prompts, 1, 32 * 200 - 1), SizeIs(2));
  EXPECT_THAT(FormBatches(prompts, 4, 32 * 200), SizeIs(4));
  EXPECT_THAT(FormBatches(prompts, 100, 32 * 200), SizeIs(32));
}

TEST(PromptBatches, OfOneArePossibleAlways) {
  const std::vector<BatchedPrompt> prompts = OfLengths({500, 10, 10});
  EXPECT_THAT(PromptsOf(FormBatches(prompts, 1, 20)),
              ElementsAre(ElementsAre(0), ElementsAre(1, 2)));
  EXPECT_THAT(FormBatches(prompts, 1, 0), SizeIs(3));
  EXPECT_THAT(PromptsOf(EachAlone(std::vector<TokenIds>{{1}, {1, 2, 3}, {4}, {5, 6}})),
              ElementsAre(ElementsAre(1), ElementsAre(3), ElementsAre(0), ElementsAre(2)));
}

TEST(PromptBatches, AreOfOneKind) {
  const std::vector<BatchedPrompt> prompts = {
      {100, {1}}, {99, {0}}, {98, {0, 0, 1}}, {99, {0}}, {98, {0, 0, 1}}};
  EXPECT_THAT(PromptsOf(FormBatches(prompts, 1, kManyRows)),
              ElementsAre(ElementsAre(0), ElementsAre(1, 3), ElementsAre(2, 4)));
}

TEST(PromptBatches, KeepTheirPromisesForAnyLengths) {
  Random random(7);
  for (int round = 0; round < 300; ++round) {
    std::vector<BatchedPrompt> prompts(random.Below(40));
    const uint64_t spread = 1 + random.Below(round % 2 == 0 ? 6 : 300);
    for (BatchedPrompt& prompt : prompts) {
      prompt.tokens = 1 + static_cast<int64_t>(random.Below(spread));
      prompt.kind[1] = prompt.tokens > 50 ? 1 : 0;
    }
    const size_t variants = 1 + random.Below(5);
    const auto most_rows = static_cast<int64_t>(random.Below(3000));
    const std::vector<PromptBatch> batches = FormBatches(prompts, variants, most_rows);
    std::vector<int> times(prompts.size());
    std::map<int64_t, std::pair<int64_t, int64_t>> by_length;  // batches, prompts
    int64_t shortest_before = 1000;
    for (const PromptBatch& batch : batches) {
      ASSERT_FALSE(batch.prompts.empty());
      int64_t own_rows = 0, before = 1000;
      for (const size_t i : batch.prompts) {
        ++times[i];
        EXPECT_LE(prompts[i].tokens, std::min(before, shortest_before));
        before = prompts[i].tokens;
        EXPECT_EQ(prompts[i].kind, prompts[batch.prompts.front()].kind);
        own_rows += prompts[i].tokens;
      }
      shortest_before = before;
      EXPECT_EQ(batch.tokens, prompts[batch.prompts.front()].tokens);
      const int64_t rows = batch.tokens * std::ssize(batch.prompts);
      EXPECT_LE((rows - own_rows) * 8, rows);
      if (batch.prompts.size() > 1) {
        EXPECT_LE(rows * static_cast<int64_t>(variants), most_rows);
      }
      const auto of_longest = std::ranges::count_if(
          batch.prompts, [&](size_t i) { return prompts[i].tokens == batch.tokens; });
      auto& [count, held] = by_length[batch.tokens];
      ++count;
      held += of_longest;
    }
    EXPECT_THAT(times, ::testing::Each(1));
    // Those of one length that begin a batch fill it before they begin the next.
    for (const auto& [tokens, batches_and_prompts] : by_length) {
      const int64_t fitting =
          std::max<int64_t>(1, most_rows / static_cast<int64_t>(variants) / tokens);
      const auto [count, held] = batches_and_prompts;
      EXPECT_EQ(count, (held + fitting - 1) / fitting) << tokens << " tokens";
    }
  }
}

}  // namespace
}  // namespace kvtune
