#include "lib/tokenizer/tokenizer_json.h"

#include "tests/tokenizer/tokenizer_builder.h"

namespace kvtune::tokenizer {
namespace {

using ::testing::HasSubstr;

std::string ErrorIn(const std::string& json) {
  return ErrorOf([&] { Tokenizer::FromJson(json, "tokenizer.json"); });
}

TEST(TokenizerJson, TakesVocabAndMergesOutOfTheModelOnly) {
  const TokenizerJson json = ParseTokenizerJson(
      R"({"vocab": {"x": 1}, "model": {"vocab": {"a": 0, "b": 1}, "merges": [["a", "b"], "b a"],
          "deep": {"vocab": {"y": 2}}}})",
      "t");
  ASSERT_EQ(json.vocab.size(), 2u);
  EXPECT_EQ(json.vocab[1].first, "b");
  ASSERT_EQ(json.merges.size(), 2u);
  EXPECT_EQ(json.merges[1].left, "b");
  EXPECT_EQ(json.fields.dump(),
            R"({"vocab":{"x":1},"model":{"vocab":{},"merges":[],"deep":{"vocab":{"y":2}}}})");
}

TEST(TokenizerJson, BadJsonGivesLineAndColumn) {
  EXPECT_THAT(ErrorIn("{\n  \"version\": }"),
              HasSubstr("tokenizer.json: not valid JSON at line 2, column 14: "));
  EXPECT_THAT(ErrorIn(""), HasSubstr("tokenizer.json: not valid JSON at line 1, column "));
  EXPECT_THAT(ErrorIn("{\"a\": \"\xff\"}"), HasSubstr("not valid JSON at line 1"));
  EXPECT_EQ(ErrorIn("[]"), "tokenizer.json: found [], expected a JSON object");
}

TEST(TokenizerJson, DuplicatesAreErrors) {
  EXPECT_EQ(ErrorIn(R"({"version": "1.0", "version": "1.0"})"),
            "tokenizer.json: found the key \"version\" twice in one object, expected it once");
  TokenizerText text;
  text.merges = "[]";
  text.vocab = R"({"a": 0, "b": 0})";
  EXPECT_EQ(ErrorIn(text.Json()),
            "tokenizer.json: model: vocab: found the id 0 for the tokens \"a\" and \"b\", expected "
            "one token for an id");
  text.vocab = R"({"a": 0, "a": 1})";
  EXPECT_EQ(ErrorIn(text.Json()),
            "tokenizer.json: model: vocab: found the token \"a\" twice, expected it once");
}

TEST(TokenizerJson, BadEntriesAreNamed) {
  TokenizerText text;
  text.vocab = R"({"a": "0"})";
  EXPECT_EQ(ErrorIn(text.Json()),
            "tokenizer.json: model: vocab: \"a\": found \"0\", expected an integer");
  text.vocab = R"({"a": -1})";
  EXPECT_THAT(ErrorIn(text.Json()),
              HasSubstr("model: vocab: found the id -1 for the token \"a\", expected 0 to "));
  text.vocab = R"({"a": 99999999999})";
  EXPECT_THAT(ErrorIn(text.Json()), HasSubstr("found the id 99999999999 for the token \"a\""));
  text.vocab = R"({"a": {}})";
  EXPECT_THAT(ErrorIn(text.Json()),
              HasSubstr("model: vocab: \"a\": found {}, expected an integer"));

  text = {};
  text.merges = R"(["a b c"])";
  EXPECT_EQ(ErrorIn(text.Json()),
            "tokenizer.json: model: merges[0]: found \"a b c\", expected two tokens with one space "
            "between them");
  for (const char* merges : {R"([["a"]])", R"([["a", 1]])", "[1]", R"([{}])", R"([[["a"]]])"}) {
    text.merges = merges;
    EXPECT_EQ(ErrorIn(text.Json()),
              "tokenizer.json: model: merges[0]: found something else, expected two tokens");
  }
}

// Ids may have gaps, but two tokens must not take the memory of millions.
TEST(TokenizerJson, IdsFarBeyondTheirNumberAreErrors) {
  TokenizerText text;
  text.vocab = R"({"a": 0, "b": 16000000})";
  text.merges = "[]";
  EXPECT_EQ(
      ErrorOf([&] { text.Make(); }),
      "tokenizer.json: model: vocab: found the id 16000000 for the token \"b\", expected 0 to "
      "65663");
  text.vocab = R"({"a": 0, "b": 65663})";
  EXPECT_EQ(text.Make().vocab_size(), 65664);
}

TEST(TokenizerJson, MissingPartsAreNamed) {
  EXPECT_EQ(ErrorIn("{}"), "tokenizer.json: \"model\": found nothing, expected an object");
  EXPECT_EQ(ErrorIn(R"({"model": {"type": "BPE", "merges": []}})"),
            "tokenizer.json: model: \"vocab\": found nothing, expected an object");
  EXPECT_EQ(ErrorIn(R"({"model": {"type": "BPE", "vocab": {}}})"),
            "tokenizer.json: model: \"merges\": found nothing, expected a value");
}

}  // namespace
}  // namespace kvtune::tokenizer
