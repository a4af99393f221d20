#include "lib/tokenizer/widened_pattern.h"

#include <gtest/gtest.h>

#include "lib/base/json_fields.h"
#include "lib/tokenizer/pattern.h"

namespace kvtune::tokenizer {
namespace {

// Whether the expression matches all of `text`.
bool Matches(const std::string& expression, std::string_view text) {
  return Pattern::Regex(expression, "test").Replace(text, "") == "";
}

TEST(WidenProperties, LeavesOtherExpressionsAlone) {
  for (const char* expression : {"", "a|b", "[a-z]+", "\\s+(?!\\S)", "[\\s\\S]", "[]a]", "[^]a]",
                                 "[[:space:]]", "\\p{Greek}", "\\p", "a\\", "\\[:alpha:]"}) {
    EXPECT_EQ(WidenProperties(expression), expression);
  }
}

// U+2EBF0 is a letter of Unicode 15, U+10D40 a digit and U+1E5FF a punctuation mark of 16.
TEST(WidenProperties, KnowsRecentCharactersByEveryName) {
  for (const char* expression :
       {"\\p{L}", "\\p{Lo}", "\\p{Letter}", "\\p{other_letter}", "\\w", "[\\w]", "[[:alpha:]]",
        "[[:word:]]", "\\p{Alphabetic}", "\\p{Han}", "[\\p{Han}a]", "[[:graph:]]", "[^[:^alpha:]]",
        "\\P{Cn}", "[^\\p{C}]", "[[:alpha:]&&[^a]]", "\\p{^Cn}"}) {
    EXPECT_TRUE(Matches(expression, "\U0002EBF0")) << expression;
  }
  for (const char* expression : {"\\W", "[^\\w]", "[\\W]", "[[:^alpha:]]", "\\P{L}", "\\p{Cn}",
                                 "\\p{C}", "\\P{Han}", "[^[:graph:]]"}) {
    EXPECT_FALSE(Matches(expression, "\U0002EBF0")) << expression;
  }
  for (const char* expression : {"\\d", "[[:digit:]]", "[[:alnum:]]", "\\p{N}", "\\p{Number}"}) {
    EXPECT_TRUE(Matches(expression, "\U00010D40")) << expression;
  }
  EXPECT_TRUE(Matches("\\p{Punct}", "\U0001E5FF"));
}

TEST(WidenProperties, PosixPunctuationHoldsSymbols) {
  for (const char* text : {"$", "+", "<", "^", "~", "€", "©", ",", "。"}) {
    EXPECT_TRUE(Matches("[[:punct:]]", text)) << text;
    EXPECT_FALSE(Matches("[[:^punct:]]", text)) << text;
  }
  EXPECT_FALSE(Matches("\\p{Punct}", "€"));
  EXPECT_FALSE(Matches("[[:punct:]]", "a"));
}

TEST(WidenProperties, WordsKeepWhatTheyHoldInsideAndOutside) {
  EXPECT_TRUE(Matches("\\w+", "a_1é漢"));
  EXPECT_TRUE(Matches("\\p{Word}", "½"));
  EXPECT_TRUE(Matches("[\\W]+", "- !"));
}

}  // namespace
}  // namespace kvtune::tokenizer
