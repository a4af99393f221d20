#include "lib/tokenizer/unicode.h"

#include <gtest/gtest.h>

namespace kvtune::tokenizer {
namespace {

TEST(Unicode, EncodesAndDecodesEveryCodePoint) {
  for (char32_t c = 0; c < 0x110000; ++c) {
    if (c >= 0xD800 && c <= 0xDFFF) continue;
    std::string text;
    AppendUtf8(c, text);
    const DecodedCodePoint decoded = DecodeCodePoint(text, 0);
    ASSERT_EQ(decoded.value, c);
    ASSERT_EQ(decoded.length, text.size());
    ASSERT_EQ(DecodeCodePointBefore("\u20AC" + text, 3 + text.size()).value, c);
    ASSERT_FALSE(FindInvalidUtf8(text).has_value());
  }
}

TEST(Unicode, FindsInvalidUtf8) {
  EXPECT_EQ(FindInvalidUtf8("a long text in ASCII, longer than a word"), std::nullopt);
  EXPECT_EQ(FindInvalidUtf8("0123456789\xff"), 10u);
  EXPECT_EQ(FindInvalidUtf8("é\x80"), 2u);
  EXPECT_EQ(FindInvalidUtf8("caf\xc3"), 3u);
  EXPECT_EQ(FindInvalidUtf8("\xc0\xaf"), 0u);          // overlong
  EXPECT_EQ(FindInvalidUtf8("\xe0\x80\xaf"), 0u);      // overlong
  EXPECT_EQ(FindInvalidUtf8("a\xed\xa0\x80"), 1u);     // surrogate
  EXPECT_EQ(FindInvalidUtf8("\xf4\x90\x80\x80"), 0u);  // above U+10FFFF
}

TEST(Unicode, ReplacesMaximalParts) {
  EXPECT_EQ(ReplaceInvalidUtf8("aé"), "aé");
  EXPECT_EQ(ReplaceInvalidUtf8("\xf0\x9f\x98"), "\uFFFD");
  EXPECT_EQ(ReplaceInvalidUtf8("\xf0\x9f\x98x\xe2\x82"), "\uFFFDx\uFFFD");
  EXPECT_EQ(ReplaceInvalidUtf8("\xed\xa0\x80"), "\uFFFD\uFFFD\uFFFD");
  EXPECT_EQ(ReplaceInvalidUtf8("\xc0\xaf"), "\uFFFD\uFFFD");
}

TEST(Unicode, PropertiesAreThoseOfTheStandard) {
  EXPECT_TRUE(IsWhitespace(0x3000) && IsWhitespace(0x85) && IsWhitespace('\t'));
  EXPECT_FALSE(IsWhitespace(0x200B) || IsWhitespace(0x180E));
  EXPECT_TRUE(IsNumeric('7') && IsNumeric(0xBD) && IsNumeric(0x2168) && IsNumeric(0x1E4F0));
  EXPECT_TRUE(IsPunctuation('$') && IsPunctuation('~') && IsPunctuation(0x3002) &&
              !IsPunctuation(0x20AC));
  EXPECT_FALSE(IsPunctuation(' ') || IsPunctuation('a') || IsPunctuation('Z') ||
               IsPunctuation('0'));
  EXPECT_TRUE(IsPunctuation('@') && IsPunctuation('[') && IsPunctuation('`') && IsPunctuation('{'));
  EXPECT_TRUE(IsWordCharacter('_') && IsWordCharacter(0x301) && IsWordCharacter(0x24B6) &&
              IsWordCharacter(0x2EBF0));
  EXPECT_FALSE(IsWordCharacter('-') || IsWordCharacter(0xBD) || IsWordCharacter(0x1F600));
}

}  // namespace
}  // namespace kvtune::tokenizer
