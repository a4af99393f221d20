#include "lib/report/text_table.h"

#include <gtest/gtest.h>

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

TEST(TextTable, DoesNotWrapWhereNothingWouldFit) {
  TextTable table({{"plan", Align::kLeft}, {"layers", Align::kLeft}});
  table.AddRow({"p00", "KV4;0:KV8;26-27:K8V4"});
  EXPECT_EQ(table.Render(10), "plan  layers\np00   KV4;0:KV8;26-27:K8V4\n");
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
  TextTable table({{"name", Align::kLeft}, {"n", Align::kRight}});
  table.AddRow({"größe", "1"});
  table.AddRow({"grosse", "2"});
  EXPECT_EQ(table.Render(0), "name    n\ngröße   1\ngrosse  2\n");
}

}  // namespace
}  // namespace kvtune
