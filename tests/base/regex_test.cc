#include "lib/base/regex.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "lib/base/error.h"

namespace kvtune {
namespace {

using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

std::string Repeated(const std::string& text, int count) {
  std::string repeated;
  for (int i = 0; i < count; ++i) repeated += text;
  return repeated;
}

bool Matches(const std::string& expression, const std::string& text) {
  return Regex(expression, RegexSyntax::kPython, "f", expression)
      .MatchesBeginning(text, "matching");
}

TEST(Regex, MatchesAtTheBeginningAlone) {
  EXPECT_TRUE(Matches("model", "model.layers"));
  EXPECT_FALSE(Matches("layers", "model.layers"));
  EXPECT_TRUE(Matches(".*layers$", "model.layers"));
  EXPECT_TRUE(Matches("(?P<n>model)\\.(?!lm_head)", "model.layers"));
  EXPECT_TRUE(Matches("^model\\.layers\\.[0-9]+\\.mlp\\.gate$", "model.layers.12.mlp.gate"));
  EXPECT_FALSE(Matches("^model\\.layers\\.[0-9]+\\.mlp\\.gate$", "model.layers.12.mlp.gate_up"));
}

TEST(Regex, SearchGivesItsGroups) {
  const Regex regex("(a)|(b)(c*)", RegexSyntax::kPython, "f", "(a)|(b)(c*)");
  const auto groups = regex.SearchGroups("xbcca", 0, "matching");
  ASSERT_EQ(groups.size(), 4u);
  EXPECT_EQ(groups[0]->begin, 1u);
  EXPECT_EQ(groups[0]->end, 4u);
  EXPECT_FALSE(groups[1]);  // took no part
  EXPECT_EQ(groups[2]->end, 2u);
  EXPECT_EQ(groups[3]->end, 4u);
  EXPECT_TRUE(regex.SearchGroups("xbcca", 4, "matching")[1]);
  EXPECT_TRUE(regex.SearchGroups("x", 0, "matching").empty());
}

TEST(Regex, SearchGivesTheFirstMatchFromAPlaceOn) {
  const Regex regex("b+", RegexSyntax::kOniguruma, "f", "b+");
  const std::string text = "abbabc";
  const auto first = regex.Search(text, 0, "matching");
  ASSERT_TRUE(first);
  EXPECT_EQ(first->begin, 1u);
  EXPECT_EQ(first->end, 3u);
  const auto second = regex.Search(text, 3, "matching");
  ASSERT_TRUE(second);
  EXPECT_EQ(second->begin, 4u);
  EXPECT_FALSE(regex.Search(text, 6, "matching"));
}

TEST(Regex, ARunawayExpressionIsAnError) {
  const std::string text = std::string(60, 'a') + "!";
  for (const char* expression : {"(?:a|a|aa)+[^a]{2}", "(a+)+b", "(?:a*)*b", "(.*)*\\1b"}) {
    const auto match = [&] { Matches(expression, text); };
    // The engine knows some of them to be no match; it never hangs.
    try {
      match();
    } catch (const Error& error) {
      EXPECT_THAT(error.what(), HasSubstr("matching at byte 0: ")) << expression;
    }
  }
  EXPECT_THAT([&] { Matches("(?:a|a|aa)+[^a]{2}", text); },
              ThrowsMessage<Error>(HasSubstr("matching at byte 0: retry-limit-in-")));
}

TEST(Regex, DeepNestingIsAnErrorOrAnAnswer) {
  for (const int depth : {300, 3000, 100'000}) {
    for (const auto& [open, close] : {std::pair{"(", ")"}, {"(?:", ")*"}, {"(?=", ")"}}) {
      const std::string expression = Repeated(open, depth) + "a" + Repeated(close, depth);
      EXPECT_THAT([&] { Matches(expression, "a"); },
                  ThrowsMessage<Error>(HasSubstr("f: found the regular expression \"")))
          << open << depth;
    }
  }
  EXPECT_TRUE(Matches(Repeated("(", 100) + "a" + Repeated(")", 100), "a"));
}

TEST(Regex, WhatDoesNotCompileIsNamed) {
  EXPECT_THAT([] { Matches("(", "a"); },
              ThrowsMessage<Error>(HasSubstr("f: found the regular expression \"(\", expected one "
                                             "that Oniguruma compiles: end pattern with")));
  EXPECT_THAT([] { Matches("(" + std::string(1000, 'x'), "a"); },
              ThrowsMessage<Error>(HasSubstr("xxx...\", expected")));
}

}  // namespace
}  // namespace kvtune
