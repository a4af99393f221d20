#include "lib/tokenizer/added_vocabulary.h"

#include "tests/tokenizer/tokenizer_builder.h"

namespace kvtune::tokenizer {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::string Added(int id, const std::string& content, const std::string& set = "") {
  Json token = {{"id", id},        {"content", content},  {"single_word", false}, {"lstrip", false},
                {"rstrip", false}, {"normalized", false}, {"special", true}};
  if (!set.empty()) token[set] = true;
  return token.dump();
}

std::vector<int32_t> Ids(const TokenizerText& text, const std::string& input) {
  return text.Make().Encode(input, SpecialTokens::kAdd);
}

TEST(AddedVocabulary, CutsOutTokensLeftmostLongest) {
  TokenizerText text;
  text.added_tokens =
      "[" + Added(8, "<x>") + ", " + Added(9, "<x><x>") + ", " + Added(10, "x>a") + "]";
  EXPECT_THAT(Ids(text, "ab<x>ab"), ElementsAre(5, 8, 5));
  EXPECT_THAT(Ids(text, "<x><x><x>a"), ElementsAre(9, 8, 0));
  EXPECT_THAT(Ids(text, "a<x>bc"), ElementsAre(0, 8, 1, 2));
}

TEST(AddedVocabulary, TokensOfTheVocabularyKeepTheirIds) {
  TokenizerText text;
  text.added_tokens = "[" + Added(2, "c") + ", " + Added(8, "<x>") + "]";
  EXPECT_THAT(Ids(text, "abc<x>"), ElementsAre(5, 2, 8));
}

TEST(AddedVocabulary, TokensStripTheSpaceBesideThem) {
  TokenizerText text;
  text.vocab = R"({"a": 0, " ": 1})";
  text.merges = "[]";
  text.added_tokens = "[" + Added(2, "<l>", "lstrip") + ", " + Added(3, "<r>", "rstrip") + "]";
  EXPECT_THAT(Ids(text, "a  <l> a"), ElementsAre(0, 2, 1, 0));
  EXPECT_THAT(Ids(text, "a <r> \u3000a"), ElementsAre(0, 1, 3, 0));
  EXPECT_THAT(Ids(text, "<r> <l>"), ElementsAre(3, 2));
}

TEST(AddedVocabulary, SingleWordsAreNotFoundInsideOthers) {
  TokenizerText text;
  text.vocab = R"({"a": 0, "h": 1, "i": 2, ".": 3, "é": 4})";
  text.merges = "[]";
  text.added_tokens = "[" + Added(5, "hi", "single_word") + "]";
  EXPECT_THAT(Ids(text, "hi"), ElementsAre(5));
  EXPECT_THAT(Ids(text, ".hi."), ElementsAre(3, 5, 3));
  EXPECT_THAT(Ids(text, "hia"), ElementsAre(1, 2, 0));
  EXPECT_THAT(Ids(text, "éhi"), ElementsAre(4, 1, 2));
}

TEST(AddedVocabulary, NormalizedTokensAreFoundInNormalizedText) {
  TokenizerText text;
  text.normalizer = R"({"type": "Lowercase"})";
  text.added_tokens = "[" + Added(8, "YES", "normalized") + ", " + Added(9, "RAW") + "]";
  text.decoder = R"({"type": "Fuse"})";
  EXPECT_THAT(Ids(text, "aYesRAWyes"), ElementsAre(0, 8, 9, 8));
  EXPECT_THAT(Ids(text, "A"), ElementsAre(0));
  EXPECT_EQ(text.Make().Decode(std::vector<int32_t>{8, 9}), "yesRAW");
}

// Llama 2: the mark goes before every piece of text between added tokens.
TEST(AddedVocabulary, TextBetweenTokensIsNormalizedOnItsOwn) {
  TokenizerText text;
  text.normalizer = R"({"type": "Prepend", "prepend": "▁"})";
  text.added_tokens = "[" + Added(8, "<x>") + "]";
  EXPECT_THAT(Ids(text, "ab<x>ab<x>"), ElementsAre(7, 5, 8, 7, 5, 8));
}

// Mistral v0.3: only before the piece that starts the input.
TEST(AddedVocabulary, PrependSchemeFirstLooksAtTheWholeInput) {
  TokenizerText text;
  text.pre_tokenizer =
      R"({"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first", "split": false})";
  text.added_tokens = "[" + Added(8, "<x>") + "]";
  EXPECT_THAT(Ids(text, "ab<x>ab"), ElementsAre(7, 5, 8, 5));
  EXPECT_THAT(Ids(text, "<x>ab"), ElementsAre(8, 5));
}

TEST(AddedVocabulary, MistakesNameTheEntry) {
  const auto error = [](const TokenizerText& text) { return ErrorOf([&] { text.Make(); }); };
  TokenizerText text;
  text.added_tokens = "[" + Added(8, "<x>") + ", " + Added(10, "<y>") + "]";
  EXPECT_EQ(error(text),
            "tokenizer.json: added_tokens[1]: \"id\": found 10, expected 9: the id of \"<y>\" as "
            "the next behind the "
            "vocabulary");
  text.added_tokens = "[" + Added(8, "c") + "]";
  EXPECT_EQ(error(text),
            "tokenizer.json: added_tokens[0]: \"id\": found 8, expected 2: the id of \"c\" in the "
            "vocabulary");
  text.added_tokens = "[" + Added(8, "<x>") + ", " + Added(9, "<x>") + "]";
  EXPECT_THAT(
      error(text),
      HasSubstr("added_tokens[1]: \"content\": found \"<x>\" a second time, expected it once"));
  text.added_tokens = "[" + Added(8, "") + "]";
  EXPECT_THAT(error(text), HasSubstr("added_tokens[0]: \"content\": found an empty text"));
  text.normalizer = R"({"type": "Lowercase"})";
  text.added_tokens =
      "[" + Added(8, "YES", "normalized") + ", " + Added(9, "Yes", "normalized") + "]";
  EXPECT_THAT(error(text),
              HasSubstr("added_tokens[1]: found \"Yes\", which looks like another added token"));
}

}  // namespace
}  // namespace kvtune::tokenizer
