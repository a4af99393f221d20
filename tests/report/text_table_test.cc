#include "lib/report/text_table.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <pty.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <optional>
#include <sstream>
#include <string>
#include <vector>

namespace kvtune {
namespace {

using ::testing::ElementsAre;

TEST(TextTable, AlignsColumns) {
  TextTable table({{"plan", Align::kLeft}, {"bytes", Align::kRight}, {"layers", Align::kLeft}});
  table.AddRow({"p00", "2176", "KV8"});
  table.AddRow({"exact", "8", "exact"});
  EXPECT_EQ(table.Render(0),
            "plan   bytes  layers\n"
            "p00     2176  KV8\n"
            "exact      8  exact\n");
}

TEST(TextTable, LastColumnMayBeRightAligned) {
  TextTable table({{"layer", Align::kRight}, {"KV8", Align::kRight}});
  table.AddRow({"0", "0.0123"});
  EXPECT_EQ(table.Render(0), "layer     KV8\n    0  0.0123\n");
}

TEST(TextTable, WrapsTheLastColumnBelowItself) {
  TextTable table({{"plan", Align::kLeft}, {"layers", Align::kLeft}});
  table.AddRow({"p00", "KV4;0:KV8;26-27:K8V4;30:KV2"});
  EXPECT_EQ(table.Render(22),
            "plan  layers\n"
            "p00   KV4;0:KV8;\n"
            "      26-27:K8V4;\n"
            "      30:KV2\n");
}

TEST(TextTable, BreaksWordsThatAreTooLong) {
  TextTable table({{"plan", Align::kLeft}, {"layers", Align::kLeft}});
  table.AddRow({"p00", "0:turboquant_k3v4_nc;1:KV8"});
  EXPECT_EQ(table.Render(18),
            "plan  layers\n"
            "p00   0:turboquant\n"
            "      _k3v4_nc;\n"
            "      1:KV8\n");
}

// Twelve columns are left for the words.
TEST(TextTable, WordsFillALineToItsEnd) {
  const auto lines_of = [](const std::string& cell) {
    TextTable table({{"n", Align::kRight}, {"words", Align::kLeft}});
    table.AddRow({"1", cell});
    std::vector<std::string> lines;
    std::istringstream text(table.Render(15));
    for (std::string line; std::getline(text, line);) lines.push_back(line.substr(3));
    lines.erase(lines.begin());
    return lines;
  };
  EXPECT_THAT(lines_of("abcdefghijkl"), ElementsAre("abcdefghijkl"));
  EXPECT_THAT(lines_of("abcdefghijklm"), ElementsAre("abcdefghijkl", "m"));
  EXPECT_THAT(lines_of("ab;defghijkl"), ElementsAre("ab;defghijkl"));
  EXPECT_THAT(lines_of("ab;defghijklm"), ElementsAre("ab;", "defghijklm"));
  EXPECT_THAT(lines_of("a;abcdefghijkl"), ElementsAre("a;", "abcdefghijkl"));
  // The space behind the last word of a line takes no room.
  EXPECT_THAT(lines_of("ab;defghi;xy zzz"), ElementsAre("ab;defghi;xy", "zzz"));
  EXPECT_THAT(lines_of("ab;defghi;xyz zzz"), ElementsAre("ab;defghi;", "xyz zzz"));
}

TEST(TextTable, TheWidestTextGivesWayFirst) {
  TextTable table({{"a", Align::kLeft}, {"b", Align::kLeft}, {"n", Align::kRight}});
  table.AddRow({"aaaaaaaa aaaaaaaaaaa", "bbbbbbbb bbbbbbbbbbb", "1"});
  EXPECT_EQ(table.Render(45),
            "a                     b                     n\n"
            "aaaaaaaa aaaaaaaaaaa  bbbbbbbb bbbbbbbbbbb  1\n");
  EXPECT_EQ(table.Render(44),
            "a                    b                     n\n"
            "aaaaaaaa             bbbbbbbb bbbbbbbbbbb  1\n"
            "aaaaaaaaaaa\n");
  EXPECT_EQ(table.Render(43),
            "a                    b                    n\n"
            "aaaaaaaa             bbbbbbbb             1\n"
            "aaaaaaaaaaa          bbbbbbbbbbb\n");
}

TEST(TextTable, LeavesOutColumnsByRank) {
  TextTable table(
      {{"plan", Align::kLeft}, {"bits", Align::kRight, 1}, {"bytes", Align::kRight, 2}, {"loss"}});
  table.AddRow({"p00", "4.25", "1152", "0.01"});
  EXPECT_EQ(table.Render(23), "plan  bits  bytes  loss\np00   4.25   1152  0.01\n");
  EXPECT_EQ(table.Render(22), "plan  bytes  loss\np00    1152  0.01\n");
  EXPECT_EQ(table.Render(16), "plan  loss\np00   0.01\n");
}

TEST(TextTable, WhatCannotBeLeftOutGoesBelow) {
  TextTable table({{"layer"}, {"KV8"}, {"KV4"}, {"KV2"}});
  table.AddRow({"0", "0.01", "0.02", "0.03"});
  EXPECT_EQ(table.Render(17),
            "layer   KV8   KV4\n"
            "    0  0.01  0.02\n"
            "\n"
            "layer   KV2\n"
            "    0  0.03\n");
}

// Property: no line is wider than asked for, and no letter of a cell is lost.
TEST(TextTable, NeverOverflows) {
  for (size_t width = 48; width <= 120; ++width) {
    TextTable table({{"name", Align::kLeft},
                     {"number"},
                     {"mark", Align::kLeft, 1},
                     {"interval"},
                     {"words", Align::kLeft}});
    table.AddRow({"KV4;0:KV8;26-27:K8V4;30:KV2", "12345", "uniform < p08", "[0.1, 0.2]",
                  std::string(62, 'x') + " bb;cc"});
    const std::string text = table.Render(width);
    for (size_t begin = 0; begin < text.size();) {
      const size_t end = text.find('\n', begin);
      EXPECT_LE(DisplayWidth(std::string_view(text).substr(begin, end - begin)), width);
      begin = end + 1;
    }
    EXPECT_EQ(std::count(text.begin(), text.end(), 'x'), 62) << text;
  }
}

TEST(TextTable, SentencesAreWrappedAtSpaces) {
  EXPECT_EQ(WrappedText("one two three\n", 0), "one two three\n");
  EXPECT_EQ(WrappedText("one two three four\n", 13), "one two three\nfour\n");
  EXPECT_EQ(WrappedText("one two three four\n", 12), "one two\nthree four\n");
  EXPECT_EQ(WrappedText("one two three\n\n  four five six seven eight\n", 20),
            "one two three\n\n  four five six\n  seven eight\n");
}

TEST(TextTable, OneColumnStandsBesideTheFirstHoweverNarrowTheTerminal) {
  TextTable table({{"n", Align::kRight}, {"bytes", Align::kRight}, {"tokens", Align::kRight}});
  table.AddRow({"1", "2176", "8"});
  EXPECT_EQ(table.Render(5), "n  bytes\n1   2176\n\nn  tokens\n1       8\n");
}

TEST(TextTable, NoLineEndsInBlanks) {
  TextTable table({{"plan", Align::kLeft}, {"layers", Align::kLeft}});
  table.AddRow({"p00", ""});
  table.AddRow({"p01", "KV4 "});
  table.AddRow({"p02", "a bit more than fits, "});
  table.AddRow({"", ""});
  EXPECT_EQ(table.Render(0), "plan  layers\np00\np01   KV4\np02   a bit more than fits,\n\n");
  EXPECT_EQ(table.Render(22),
            "plan  layers\np00\np01   KV4\np02   a bit more than\n      fits,\n\n");
}

TEST(TextTable, CountsCodePoints) {
  EXPECT_EQ(DisplayWidth("KL"), 2u);
  EXPECT_EQ(DisplayWidth("Übergröße"), 9u);
  EXPECT_EQ(DisplayWidth("e\u0301"), 1u);
  EXPECT_EQ(DisplayWidth("e\u0345"), 1u);
  TextTable table({{"name", Align::kLeft}, {"n", Align::kRight}});
  table.AddRow({"größe", "1"});
  table.AddRow({"grosse", "2"});
  EXPECT_EQ(table.Render(0), "name    n\ngröße   1\ngrosse  2\n");
}

// Puts another file in the place of standard output while it lives.
class OutputTo {
 public:
  explicit OutputTo(int file) : kept_(::dup(STDOUT_FILENO)) { ::dup2(file, STDOUT_FILENO); }
  ~OutputTo() {
    ::dup2(kept_, STDOUT_FILENO);
    ::close(kept_);
  }

 private:
  int kept_;
};

TEST(TerminalWidth, IsThatOfTheTerminalOnStandardOutput) {
  int terminal = -1, program = -1;
  const winsize size{.ws_row = 20, .ws_col = 93, .ws_xpixel = 0, .ws_ypixel = 0};
  if (::openpty(&terminal, &program, nullptr, nullptr, &size) != 0) {
    GTEST_SKIP() << "the system gives no terminal";
  }
  const auto width_with = [&](const char* columns) {
    const char* before = std::getenv("COLUMNS");
    const std::optional<std::string> kept =
        before == nullptr ? std::nullopt : std::optional<std::string>(before);
    columns == nullptr ? ::unsetenv("COLUMNS") : ::setenv("COLUMNS", columns, 1);
    size_t width = 0;
    {
      const OutputTo output(program);
      width = TerminalWidth();
    }
    kept ? ::setenv("COLUMNS", kept->c_str(), 1) : ::unsetenv("COLUMNS");
    return width;
  };
  EXPECT_EQ(width_with(nullptr), 93U);
  EXPECT_EQ(width_with("61"), 61U);  // what a user says comes first
  EXPECT_EQ(width_with("61 columns"), 93U);
  ::close(program);
  ::close(terminal);
}

TEST(TerminalWidth, IsNoneWhereOutputIsNoTerminal) {
  const int file = ::open("/dev/null", O_WRONLY);
  size_t width = 1;
  {
    const OutputTo output(file);
    width = TerminalWidth();
  }
  EXPECT_EQ(width, 0U);
  ::close(file);
}

}  // namespace
}  // namespace kvtune
