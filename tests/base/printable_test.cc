#include "lib/base/printable.h"

#include <gtest/gtest.h>

#include <string>

namespace kvtune {
namespace {

TEST(Printable, OrdinaryTextStaysAsItIs) {
  const std::string text = "KV4;3:KV8 | é → 模型 🙂 \\n <b>";
  EXPECT_EQ(PrintableText(text), text);
  EXPECT_EQ(PrintableLine(text), text);
}

TEST(Printable, ControlCharactersBecomeEscapes) {
  EXPECT_EQ(PrintableText("a\x1b[31mred\x1b]0;title\x07"), "a\\x1b[31mred\\x1b]0;title\\x07");
  EXPECT_EQ(PrintableText(std::string("\0\x7f\r", 3)), "\\x00\\x7f\\r");
  EXPECT_EQ(PrintableText("\xc2\x9b"
                          "31m"),
            "\\u009b31m");
  EXPECT_EQ(PrintableText("\xe2\x80\xae"
                          "txt"),
            "\\u202etxt");
}

TEST(Printable, OnlyALineEscapesNewlinesAndTabs) {
  EXPECT_EQ(PrintableText("a\n\tb"), "a\n\tb");
  EXPECT_EQ(PrintableLine("a\n\tb"), "a\\n\\tb");
}

TEST(Printable, BytesThatAreNotUtf8BecomeEscapes) {
  EXPECT_EQ(PrintableLine("a\xff"
                          "b"),
            "a\\xffb");
  EXPECT_EQ(PrintableLine("\xe2\x80"), "\\xe2\\x80");           // cut off
  EXPECT_EQ(PrintableLine("\xc0\x8a"), "\\xc0\\x8a");           // a newline spelled too long
  EXPECT_EQ(PrintableLine("\xed\xa0\x80"), "\\xed\\xa0\\x80");  // half of a surrogate pair
}

TEST(Printable, AShellReadsItsWordAsTheText) {
  EXPECT_EQ(ShellWord("runs/a-1:p07"), "runs/a-1:p07");
  EXPECT_EQ(ShellWord("a run"), "'a run'");
  EXPECT_EQ(ShellWord("it's; rm"), "'it'\\''s; rm'");
  EXPECT_EQ(ShellWord("$(x)\n"), "'$(x)\n'");
  EXPECT_EQ(ShellWord(""), "''");
}

}  // namespace
}  // namespace kvtune
