#include "lib/tokenizer/pre_tokenizer.h"

#include "tests/tokenizer/tokenizer_builder.h"

namespace kvtune::tokenizer {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

std::vector<std::string> Words(const std::string& config, const std::string& text,
                               bool starts_input = true) {
  WordList list{text, {{0, text.size(), starts_input}}};
  const Config parsed(config);
  MakePreTokenizer(parsed.fields())->PreTokenize(list);
  std::vector<std::string> words;
  for (const WordRange& word : list.words) words.emplace_back(list.Word(word));
  return words;
}

std::vector<std::string> Split(const std::string& behavior, const std::string& text,
                               const std::string& invert = "false") {
  return Words(R"({"type": "Split", "pattern": {"String": "-"}, "behavior": ")" + behavior +
                   R"(", "invert": )" + invert + "}",
               text);
}

TEST(PreTokenizer, SplitHasFiveBehaviors) {
  const std::string text = "the-final--countdown";
  EXPECT_THAT(Split("Removed", text), ElementsAre("the", "final", "countdown"));
  EXPECT_THAT(Split("Isolated", text), ElementsAre("the", "-", "final", "-", "-", "countdown"));
  EXPECT_THAT(Split("MergedWithPrevious", text), ElementsAre("the-", "final-", "-", "countdown"));
  EXPECT_THAT(Split("MergedWithNext", text), ElementsAre("the", "-final", "-", "-countdown"));
  EXPECT_THAT(Split("Contiguous", text), ElementsAre("the", "-", "final", "--", "countdown"));
}

TEST(PreTokenizer, SplitHandlesDelimitersAtTheEdges) {
  EXPECT_THAT(Split("Removed", "--"), IsEmpty());
  EXPECT_THAT(Split("MergedWithPrevious", "-a-"), ElementsAre("-", "a-"));
  EXPECT_THAT(Split("MergedWithNext", "-a-"), ElementsAre("-a", "-"));
  EXPECT_THAT(Split("Contiguous", "--a--"), ElementsAre("--", "a", "--"));
}

TEST(PreTokenizer, InvertedSplitTakesMatchesForText) {
  EXPECT_THAT(Split("Removed", "a--b", "true"), ElementsAre("-", "-"));
  EXPECT_THAT(Split("MergedWithNext", "a--b", "true"), ElementsAre("a-", "-", "b"));
}

TEST(PreTokenizer, SplitKnowsLookahead) {
  const std::string config =
      R"({"type": "Split", "pattern": {"Regex": "\\p{L}+|\\s+(?!\\S)|\\s+"},
          "behavior": "Isolated", "invert": false})";
  EXPECT_THAT(Words(config, "ab   cd 1 "), ElementsAre("ab", "  ", " ", "cd", " ", "1", " "));
  // Letters of Unicode 15.1 are letters.
  EXPECT_THAT(Words(config, "a\U0002EBF0b!"), ElementsAre("a\U0002EBF0b", "!"));
}

TEST(PreTokenizer, CategoriesAreWidenedWhereverTheyStand) {
  const auto split = [](const std::string& regex, const std::string& text) {
    return Words(R"({"type": "Split", "pattern": {"Regex": ")" + regex +
                     R"("}, "behavior": "Removed", "invert": true})",
                 text);
  };
  const std::string digit = "\U0001E4F0";  // Nag Mundari digit zero, Unicode 15
  EXPECT_THAT(split(R"(\\d)", "a" + digit), ElementsAre(digit));
  EXPECT_THAT(split(R"([\\p{N}x])", "a" + digit + "x"), ElementsAre(digit, "x"));
  EXPECT_THAT(split(R"(\\P{N}+)", "a" + digit + "b"), ElementsAre("a", "b"));
  EXPECT_THAT(split(R"([^\\s\\p{N}]+)", "a" + digit + "b c"), ElementsAre("a", "b", "c"));
  EXPECT_THAT(split(R"(\\p{^Nd}+)", "a" + digit), ElementsAre("a"));
  EXPECT_THAT(split(R"(\\\\p)", R"(a\p{N})"), ElementsAre(R"(\p)"));
}

TEST(PreTokenizer, ByteLevelSplitsAndMapsBytes) {
  const std::string plain =
      R"({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true})";
  EXPECT_THAT(Words(plain, "I'm é 42!\n x"), ElementsAre("I", "'m", "ĠÃ©", "Ġ42", "!", "Ċ", "Ġx"));
  const std::string whole =
      R"({"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true,
          "use_regex": false})";
  EXPECT_THAT(Words(whole, "a b"), ElementsAre("ĠaĠb"));
  EXPECT_THAT(Words(whole, " a"), ElementsAre("Ġa"));
}

TEST(PreTokenizer, DigitsAreCutOutOneByOneOrTogether) {
  EXPECT_THAT(Words(R"({"type": "Digits", "individual_digits": true})", "a12½"),
              ElementsAre("a", "1", "2", "½"));
  EXPECT_THAT(Words(R"({"type": "Digits", "individual_digits": false})", "a12b"),
              ElementsAre("a", "12", "b"));
}

TEST(PreTokenizer, MetaspacePrependsByItsScheme) {
  const auto metaspace = [](const std::string& options, const std::string& text,
                            bool starts_input = true) {
    return Words(R"({"type": "Metaspace", "replacement": "▁")" + options + "}", text, starts_input);
  };
  EXPECT_THAT(metaspace("", "a b"), ElementsAre("▁a", "▁b"));
  EXPECT_THAT(metaspace("", " a"), ElementsAre("▁a"));
  EXPECT_THAT(metaspace("", "▁a"), ElementsAre("▁a"));
  EXPECT_THAT(metaspace(R"(, "prepend_scheme": "always", "split": false)", "a b", false),
              ElementsAre("▁a▁b"));
  EXPECT_THAT(metaspace(R"(, "prepend_scheme": "first")", "a", true), ElementsAre("▁a"));
  EXPECT_THAT(metaspace(R"(, "prepend_scheme": "first")", "a", false), ElementsAre("a"));
  EXPECT_THAT(metaspace(R"(, "prepend_scheme": "never", "add_prefix_space": false, "str_rep": "▁")",
                        "a  b"),
              ElementsAre("a", "▁", "▁b"));
  EXPECT_EQ(
      ErrorOf([&] { metaspace(R"(, "add_prefix_space": false)", "a"); }),
      "part: \"add_prefix_space\": found false, expected it to go with prepend_scheme \"never\"");
}

TEST(PreTokenizer, OnlyTheFirstWordStartsTheInput) {
  EXPECT_THAT(Words(R"({"type": "Sequence", "pretokenizers": [{"type": "WhitespaceSplit"},
                        {"type": "Metaspace", "replacement": "_", "prepend_scheme": "first"}]})",
                    "a b"),
              ElementsAre("_a", "b"));
}

TEST(PreTokenizer, CharacterClassesAreThoseOfUnicode) {
  EXPECT_THAT(Words(R"({"type": "Punctuation"})", "a,b—c$"),
              ElementsAre("a", ",", "b", "—", "c", "$"));
  EXPECT_THAT(Words(R"({"type": "Punctuation", "behavior": "Contiguous"})", "a..."),
              ElementsAre("a", "..."));
  EXPECT_THAT(Words(R"({"type": "Whitespace"})", "né_1 +=\t\u200Dx"),
              ElementsAre("né_1", "+=", "\u200Dx"));
  EXPECT_THAT(Words(R"({"type": "CharDelimiterSplit", "delimiter": "é"})", "aéébcé"),
              ElementsAre("a", "bc"));
  EXPECT_THAT(Words(R"({"type": "WhitespaceSplit"})", " a\u3000b\u00A0 "), ElementsAre("a", "b"));
}

TEST(PreTokenizer, ErrorsNameTheComponent) {
  const auto error = [](const std::string& config) { return ErrorOf([&] { Words(config, "a"); }); };
  EXPECT_EQ(error(R"({"type": "BertPreTokenizer"})"),
            "part: found the type \"BertPreTokenizer\", expected one of ByteLevel, "
            "CharDelimiterSplit, Digits, Metaspace, Punctuation, Sequence, Split, Whitespace, "
            "WhitespaceSplit");
  EXPECT_THAT(error(R"({"type": "Sequence", "pretokenizers": [{}]})"),
              HasSubstr("part: pretokenizers[0]: \"type\""));
  EXPECT_THAT(
      error(R"({"type": "Split", "pattern": {"String": "-"}, "behavior": "Odd", "invert": false})"),
      HasSubstr("\"behavior\": found \"Odd\", expected one of Removed, Isolated"));
  EXPECT_THAT(error(R"({"type": "Metaspace", "replacement": "ab"})"),
              HasSubstr("found \"ab\", expected one character"));
  EXPECT_THAT(error(R"({"type": "Metaspace", "replacement": "a", "prepend_scheme": "x"})"),
              HasSubstr("found \"x\", expected one of always, first, never"));
}

TEST(PreTokenizer, RunawayPatternIsAnError) {
  const std::string config =
      R"({"type": "Split", "pattern": {"Regex": "(?:a|a|aa)+[^a]{2}"},
          "behavior": "Isolated", "invert": false})";
  EXPECT_THAT(
      ErrorOf([&] { Words(config, std::string(60, 'a') + "!"); }),
      HasSubstr("matching a regular expression of the tokenizer at byte 0: retry-limit-in-"));
}

}  // namespace
}  // namespace kvtune::tokenizer
