#include "lib/targets/shell_words.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "lib/base/hash.h"
#include "lib/base/random.h"

namespace kvtune {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

using Commands = std::vector<std::vector<std::string>>;

Commands Split(std::string_view text) {
  const ShellText shell = SplitShell(text);
  EXPECT_EQ(shell.missing, "") << text;
  return shell.commands;
}

TEST(ShellWords, WordsEndAtBlanks) {
  EXPECT_EQ(Split("vllm serve\tm  --port 1\r\n"),
            (Commands{{"vllm", "serve", "m", "--port", "1"}}));
  EXPECT_THAT(Split(" \n\t\n"), IsEmpty());
}

TEST(ShellWords, QuotesGroupAndVanish) {
  EXPECT_EQ(Split(R"(a "b c" 'd "e' f"g"'h' "" '')"),
            (Commands{{"a", "b c", "d \"e", "fgh", "", ""}}));
  EXPECT_EQ(Split(R"(a\ b "c\"d\\e\n\$f" 'g\h' \#i)"),
            (Commands{{"a b", "c\"d\\e\\n$f", "g\\h", "#i"}}));
}

TEST(ShellWords, LinesContinueBehindABackslash) {
  EXPECT_EQ(Split("a \\\n  b\\\nc \\\r\n d \"e\\\nf\""), (Commands{{"a", "bc", "d", "ef"}}));
  EXPECT_EQ(Split("a\nb"), (Commands{{"a"}, {"b"}}));
}

TEST(ShellWords, OperatorsSeparateCommands) {
  EXPECT_EQ(Split("a&&b || c;d | e & f\n(g h)"),
            (Commands{{"a"}, {"b"}, {"c"}, {"d"}, {"e"}, {"f"}, {"g", "h"}}));
  EXPECT_EQ(Split("a '&&' \"|\" \\;"), (Commands{{"a", "&&", "|", ";"}}));
}

TEST(ShellWords, RedirectionsVanish) {
  EXPECT_EQ(Split("a b > log.txt 2>&1 &"), (Commands{{"a", "b"}}));
  EXPECT_EQ(Split("a >>log 2>/dev/null b < in"), (Commands{{"a", "b"}}));
  EXPECT_EQ(Split("a &> log b; c"), (Commands{{"a", "b"}, {"c"}}));
  EXPECT_EQ(Split("a 0 1 >log"), (Commands{{"a", "0", "1"}}));  // no file descriptor
  EXPECT_EQ(Split("a '2'>log"), (Commands{{"a", "2"}}));
}

TEST(ShellWords, CommentsBeginWhereAWordDoes) {
  EXPECT_EQ(Split("# a\nb #c 'd\ne#f \\\n# g"), (Commands{{"b"}, {"e#f"}}));
}

TEST(ShellWords, ExpansionsStayAsWritten) {
  EXPECT_EQ(Split("a $B ${C:-d} $(e f) `g h` *"),
            (Commands{{"a", "$B", "${C:-d}", "$(e f)", "`g h`", "*"}}));
}

TEST(ShellWords, WhatEndsTooEarlyIsNamed) {
  EXPECT_EQ(SplitShell("a 'b").missing, "a closing quote");
  EXPECT_EQ(SplitShell("a \"b\\\"").missing, "a closing quote");
  EXPECT_EQ(SplitShell("a `b").missing, "a closing quote");
  EXPECT_EQ(SplitShell("a $(b").missing, "a closing parenthesis");
  EXPECT_EQ(SplitShell("a \\").missing, "a character behind the last backslash");
  EXPECT_THAT(SplitShell("a 'b").commands, ElementsAre(ElementsAre("a", "b")));
}

// scripts/oracles/shell_words.py compares with Python's shlex what that can read. Here is all else:
// whatever characters follow each other, the words are those that they were.
TEST(ShellWords, OfAnyCharactersArePinned) {
  constexpr std::string_view kCharacters = "aa1 \t\n'\"\\`$(){};&|<>#";
  Random random(3);
  ContentHash hash;
  for (int i = 0; i < 4000; ++i) {
    std::string text;
    for (uint64_t n = 1 + random.Below(14); n > 0; --n)
      text += kCharacters[random.Below(kCharacters.size())];
    const ShellText shell = SplitShell(text);
    for (const std::vector<std::string>& command : shell.commands) {
      EXPECT_FALSE(command.empty()) << text;
      hash.UpdateField("command");
      for (const std::string& word : command) hash.UpdateField(word);
    }
    hash.UpdateField(shell.missing);
  }
  EXPECT_EQ(hash.Digest(), "xxh3:9edbdc7dbd1017389a9ff729601d8ee8");
}

}  // namespace
}  // namespace kvtune
