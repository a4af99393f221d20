#include "lib/report/text_table.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace kvtune {
namespace {

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
  EXPECT_EQ(WrappedText("one two three\n\n  four five six seven eight\n", 20),
            "one two three\n\n  four five six\n  seven eight\n");
}

TEST(TextTable, CountsCodePoints) {
  EXPECT_EQ(DisplayWidth("KL"), 2u);
  EXPECT_EQ(DisplayWidth("Übergröße"), 9u);
  EXPECT_EQ(DisplayWidth("e\u0301"), 1u);
  TextTable table({{"name", Align::kLeft}, {"n", Align::kRight}});
  table.AddRow({"größe", "1"});
  table.AddRow({"grosse", "2"});
  EXPECT_EQ(table.Render(0), "name    n\ngröße   1\ngrosse  2\n");
}

}  // namespace
}  // namespace kvtune
