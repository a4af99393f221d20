#include "lib/tokenizer/normalizer.h"

#include "tests/tokenizer/tokenizer_builder.h"

namespace kvtune::tokenizer {
namespace {

using ::testing::HasSubstr;

NormalizedText Normalize(const std::string& config, const std::string& text) {
  NormalizedText normalized{text, true};
  const Config parsed(config);
  MakeNormalizer(parsed.fields())->Normalize(normalized);
  return normalized;
}

std::string Normalized(const std::string& config, const std::string& text) {
  return Normalize(config, text).text;
}

TEST(Normalizer, UnicodeFormsComposeAndDecompose) {
  const std::string text = "e\u0301 \u212B \uFB01";  // e + acute, angstrom sign, fi ligature
  EXPECT_EQ(Normalized(R"({"type": "NFC"})", text), "\u00E9 \u00C5 \uFB01");
  EXPECT_EQ(Normalized(R"({"type": "NFD"})", text), "e\u0301 A\u030A \uFB01");
  EXPECT_EQ(Normalized(R"({"type": "NFKC"})", text), "\u00E9 \u00C5 fi");
  EXPECT_EQ(Normalized(R"({"type": "NFKD"})", text), "e\u0301 A\u030A fi");
  EXPECT_EQ(Normalized(R"({"type": "NFC"})", "plain \u00E9"), "plain \u00E9");
}

TEST(Normalizer, FormsLeaveAloneWhatTheReferenceDoesNotKnow) {
  // U+0301 (class 230) goes before U+1ABF (class 220, Unicode 13) unless U+1ABF is unknown.
  EXPECT_EQ(Normalized(R"({"type": "NFC"})", "b\u0301\u1ABF"), "b\u0301\u1ABF");
  EXPECT_EQ(Normalized(R"({"type": "NFC"})", "b\u0301\u0323"), "\u1E05\u0301");
  // A composition of Unicode 13.
  EXPECT_EQ(Normalized(R"({"type": "NFC"})", "\U00011935\U00011930"), "\U00011935\U00011930");
}

TEST(Normalizer, PrependSkipsEmptyText) {
  EXPECT_EQ(Normalized(R"({"type": "Prepend", "prepend": "_"})", "a"), "_a");
  EXPECT_EQ(Normalized(R"({"type": "Prepend", "prepend": "_"})", ""), "");
}

TEST(Normalizer, ReplaceTakesAStringOrARegex) {
  EXPECT_EQ(
      Normalized(R"({"type": "Replace", "pattern": {"String": "a."}, "content": "-"})", "a.ab"),
      "-ab");
  EXPECT_EQ(
      Normalized(R"({"type": "Replace", "pattern": {"Regex": "a."}, "content": "-"})", "a.ab"),
      "--");
  EXPECT_EQ(Normalized(R"({"type": "Replace", "pattern": {"Regex": "x*"}, "content": "-"})", "axb"),
            "-a-b-");
  EXPECT_EQ(Normalized(R"({"type": "Replace", "pattern": {"Regex": "x"}, "content": "-"})", ""),
            "");
}

TEST(Normalizer, LowercaseStripAndOthersChangeText) {
  EXPECT_EQ(Normalized(R"({"type": "Lowercase"})", "AÉΣ\u0130"), "aéσi\u0307");
  EXPECT_EQ(
      Normalized(R"({"type": "Strip", "strip_left": true, "strip_right": true})", " \u3000a b\t"),
      "a b");
  EXPECT_EQ(Normalized(R"({"type": "Strip", "strip_left": true, "strip_right": false})", " a "),
            "a ");
  EXPECT_EQ(Normalized(R"({"type": "Strip", "strip_left": false, "strip_right": true})", " a "),
            " a");
  EXPECT_EQ(Normalized(R"({"type": "Strip", "strip_left": true, "strip_right": true})", " \n "),
            "");
  EXPECT_EQ(Normalized(R"({"type": "Nmt"})", "a\x01\tb\u200B"), "a b ");
  EXPECT_EQ(Normalized(R"({"type": "ByteLevel"})", " é"), "ĠÃ©");
}

TEST(Normalizer, SequenceRunsInOrder) {
  EXPECT_EQ(Normalized(R"({"type": "Sequence", "normalizers": [
      {"type": "Prepend", "prepend": "▁"},
      {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}]})",
                       "a b"),
            "▁a▁b");
}

// Each of these could make gigabytes of a short text.
TEST(Normalizer, TextThatGrowsWithoutBoundIsAnError) {
  const auto error = [](const std::string& config, const std::string& text) {
    return ErrorOf([&] { Normalized(config, text); });
  };
  const std::string doubling =
      R"({"type": "Replace", "pattern": {"String": "a"}, "content": "aa"})";
  std::string steps = doubling;
  for (int i = 0; i < 40; ++i) steps += ", " + doubling;
  EXPECT_EQ(
      error(R"({"type": "Sequence", "normalizers": [)" + steps + "]}", "a"),
      "tokenizing: found a normalizer that makes 8192 bytes of a text, expected at most 4160");
  const std::string long_text(10'000, 'b');
  EXPECT_THAT(
      error(R"({"type": "Replace", "pattern": {"String": "b"}, "content": ")" + long_text + "\"}",
            long_text),
      HasSubstr("makes 100000000 bytes of a text, expected at most 644096"));
  EXPECT_THAT(error(R"({"type": "Prepend", "prepend": ")" + long_text + "\"}", "a"),
              HasSubstr("makes 10001 bytes of a text"));
  // Real ones stay far below.
  EXPECT_EQ(Normalized(R"({"type": "NFKC"})", std::string(3, 'x') + "\uFDFA").size(), 36u);
}

TEST(Normalizer, KnowsWhetherTheStartOfTheInputIsLeft) {
  EXPECT_TRUE(Normalize(R"({"type": "Prepend", "prepend": "_"})", "a").starts_input);
  EXPECT_TRUE(Normalize(R"({"type": "Replace", "pattern": {"String": "a"}, "content": "b"})", "ab")
                  .starts_input);
  EXPECT_FALSE(
      Normalize(R"({"type": "Replace", "pattern": {"String": "ab"}, "content": "b"})", "abc")
          .starts_input);
  EXPECT_FALSE(Normalize(R"({"type": "Strip", "strip_left": true, "strip_right": false})", " a")
                   .starts_input);
  EXPECT_FALSE(Normalize(R"({"type": "Nmt"})",
                         "\x01"
                         "a")
                   .starts_input);
}

TEST(Normalizer, ErrorsNameTheComponent) {
  const auto error = [](const std::string& config) {
    return ErrorOf([&] { Normalize(config, ""); });
  };
  EXPECT_EQ(error(R"({"type": "Bert"})"),
            "part: found the type \"Bert\", expected one of ByteLevel, Lowercase, NFC, NFD, NFKC, "
            "NFKD, Nmt, Prepend, "
            "Replace, Sequence, Strip");
  EXPECT_EQ(error(R"({"type": "Sequence", "normalizers": [{"type": "NFC"}, {"type": "X"}]})")
                .substr(0, 43),
            "part: normalizers[1]: found the type \"X\", e");
  EXPECT_EQ(error(R"({"type": "NFC", "fast": true})"),
            "part: found the unknown key \"fast\", expected only type");
  EXPECT_EQ(error(R"({"type": "Replace", "pattern": {"String": ""}, "content": "-"})"),
            "part: pattern: \"String\": found an empty text, expected at least one character");
  EXPECT_EQ(
      error(R"({"type": "Replace", "pattern": {"Regex": "(a"}, "content": "-"})"),
      "part: pattern: found the regular expression \"(a\", expected one that Oniguruma compiles: "
      "end pattern with unmatched parenthesis");
}

}  // namespace
}  // namespace kvtune::tokenizer
