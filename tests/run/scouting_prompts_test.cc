#include "lib/run/scouting_prompts.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <vector>

namespace kvtune {
namespace {

using ::testing::ElementsAre;

// Prompts of these lengths, each token its place.
std::vector<TokenIds> PromptsOf(const std::vector<size_t>& lengths) {
  std::vector<TokenIds> prompts;
  for (const size_t length : lengths) {
    TokenIds prompt;
    for (size_t i = 0; i < length; ++i) prompt.push_back(static_cast<TokenIds::value_type>(i));
    prompts.push_back(std::move(prompt));
  }
  return prompts;
}

std::vector<size_t> LengthsOf(const std::vector<TokenIds>& prompts) {
  std::vector<size_t> lengths;
  for (const TokenIds& prompt : prompts) lengths.push_back(prompt.size());
  return lengths;
}

TEST(ScoutingPrompts, AQuarterOfShortPromptsIsWhole) {
  const std::vector<TokenIds> prompts = PromptsOf(std::vector<size_t>(32, 225));
  const std::vector<TokenIds> scouted = ScoutingPrompts(prompts);
  EXPECT_EQ(LengthsOf(scouted), std::vector<size_t>(8, 225));
  EXPECT_EQ(scouted[7], prompts[7]);
}

TEST(ScoutingPrompts, AreNeverFewerThanFourUnlessThereAreFewer) {
  EXPECT_THAT(LengthsOf(ScoutingPrompts(PromptsOf({10, 20, 30, 40, 50}))),
              ElementsAre(10, 20, 30, 40));
  EXPECT_THAT(LengthsOf(ScoutingPrompts(PromptsOf({10, 20}))), ElementsAre(10, 20));
}

TEST(ScoutingPrompts, LongPromptsAreFewerThenCut) {
  // A quarter is 16 prompts of 256 tokens, of which 8 make 2048.
  EXPECT_EQ(LengthsOf(ScoutingPrompts(PromptsOf(std::vector<size_t>(64, 256)))),
            std::vector<size_t>(8, 256));
  EXPECT_EQ(LengthsOf(ScoutingPrompts(PromptsOf(std::vector<size_t>(8, 2048)))),
            std::vector<size_t>(4, 512));
  // 48 tokens are whole, and the other three share the 2000 that are left.
  const std::vector<TokenIds> prompts = PromptsOf({5000, 48, 5000, 5000});
  const std::vector<TokenIds> scouted = ScoutingPrompts(prompts);
  EXPECT_THAT(LengthsOf(scouted), ElementsAre(666, 48, 666, 666));
  EXPECT_EQ(scouted[0], TokenIds(prompts[0].begin(), prompts[0].begin() + 666));
}

}  // namespace
}  // namespace kvtune
