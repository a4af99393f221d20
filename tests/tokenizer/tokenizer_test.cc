#include "lib/tokenizer/tokenizer.h"

#include <filesystem>
#include <fstream>
#include <thread>

#include "tests/tokenizer/tokenizer_builder.h"

namespace kvtune::tokenizer {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

TEST(Tokenizer, ReadsAFile) {
  const std::filesystem::path path =
      std::filesystem::path(::testing::TempDir()) / "kvtune_tokenizer_test.json";
  std::ofstream(path) << TokenizerText{}.Json();
  EXPECT_THAT(Tokenizer::FromFile(path).Encode("abcd", SpecialTokens::kAdd), ElementsAre(6, 3));
  std::filesystem::remove(path);
  EXPECT_THAT(ErrorOf([&] { Tokenizer::FromFile(path); }),
              HasSubstr("reading " + path.string() + ": "));
}

TEST(Tokenizer, VocabSizeIsTheHighestIdPlusOne) {
  TokenizerText text;
  EXPECT_EQ(text.Make().vocab_size(), 8);
  text.added_tokens =
      R"([{"id": 8, "content": "<x>", "single_word": false, "lstrip": false, "rstrip": false,
                           "normalized": false, "special": true}])";
  EXPECT_EQ(text.Make().vocab_size(), 9);
  text = {};
  text.vocab = R"({"a": 0, "b": 20})";
  text.merges = "[]";
  EXPECT_EQ(text.Make().vocab_size(), 21);
}

TEST(Tokenizer, DecodeSkipsIdsWithoutToken) {
  TokenizerText text;
  text.vocab = R"({"a": 0, "b": 2})";
  text.merges = "[]";
  const Tokenizer tokenizer = text.Make();
  EXPECT_EQ(tokenizer.Decode(std::vector<int32_t>{0, 1, 2, -1, 999}),
            "a b");  // no decoder: joined by spaces
  EXPECT_EQ(tokenizer.Decode({}), "");
}

TEST(Tokenizer, DecodeLeavesSpecialTokensOutWhereAskedTo) {
  TokenizerText text;
  text.vocab = R"({"a": 0, "b": 1})";
  text.merges = "[]";
  text.added_tokens =
      R"([{"id": 2, "content": "<s>", "single_word": false, "lstrip": false, "rstrip": false,
           "normalized": false, "special": true},
          {"id": 3, "content": "<plain>", "single_word": false, "lstrip": false, "rstrip": false,
           "normalized": false, "special": false}])";
  const Tokenizer tokenizer = text.Make();
  const std::vector<int32_t> ids = {2, 0, 3, 1, 2};
  EXPECT_EQ(tokenizer.Decode(ids), "<s> a <plain> b <s>");
  EXPECT_EQ(tokenizer.Decode(ids, SpecialTokens::kOmit), "a <plain> b");
}

TEST(Tokenizer, InvalidUtf8GivesTheByteOffset) {
  const Tokenizer tokenizer = TokenizerText{}.Make();
  EXPECT_EQ(ErrorOf([&] { tokenizer.Encode("abc\xff", SpecialTokens::kAdd); }),
            "tokenizing: found the byte 0xFF at offset 3, expected UTF-8");
  EXPECT_EQ(ErrorOf([&] { tokenizer.Encode("\xed\xa0\x80", SpecialTokens::kAdd); }),
            "tokenizing: found the byte 0xED at offset 0, expected UTF-8");
}

TEST(Tokenizer, SurvivesMoving) {
  Tokenizer first = TokenizerText{}.Make();
  Tokenizer second = std::move(first);
  EXPECT_THAT(second.Encode("ab", SpecialTokens::kOmit), ElementsAre(5));
  EXPECT_THAT(second.Encode("", SpecialTokens::kOmit), IsEmpty());
}

TEST(Tokenizer, ThreadsShareOneTokenizer) {
  TokenizerText text;
  text.pre_tokenizer =
      R"({"type": "Split", "pattern": {"Regex": "e"}, "behavior": "Isolated", "invert": false})";
  const Tokenizer tokenizer = text.Make();
  std::vector<int> wrong(4, 0);
  std::vector<std::thread> threads;
  for (int& count : wrong) {
    threads.emplace_back([&] {
      for (int i = 0; i < 500; ++i) {
        std::string input;
        std::vector<int32_t> expected;
        for (int k = 0; k <= i % 50; ++k) {
          input += "abce";
          expected.insert(expected.end(), {6, 4});
        }
        if (tokenizer.Encode(input, SpecialTokens::kAdd) != expected) ++count;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_THAT(wrong, ::testing::Each(0));
}

TEST(Tokenizer, ErrorsNameThePart) {
  const auto error = [](const std::string& json) {
    return ErrorOf([&] { Tokenizer::FromJson(json, "tokenizer.json"); });
  };
  TokenizerText text;
  text.normalizer = R"({"type": "Precompiled", "precompiled_charsmap": ""})";
  EXPECT_THAT(
      error(text.Json()),
      HasSubstr("tokenizer.json: normalizer: found the type \"Precompiled\", expected one of"));
  text = {};
  text.pre_tokenizer = R"({"type": "UnicodeScripts"})";
  EXPECT_THAT(error(text.Json()),
              HasSubstr("tokenizer.json: pre_tokenizer: found the type \"UnicodeScripts\""));
  text = {};
  text.post_processor = R"({"type": "Other"})";
  EXPECT_THAT(error(text.Json()),
              HasSubstr("tokenizer.json: post_processor: found the type \"Other\""));
  text = {};
  text.decoder = R"({"type": "CTC"})";
  EXPECT_THAT(error(text.Json()), HasSubstr("tokenizer.json: decoder: found the type \"CTC\""));
  EXPECT_EQ(error(R"({"model": {"type": "Unigram", "unk_id": 0, "vocab": [["a", -1.5]]}})"),
            "tokenizer.json: model: found the type \"Unigram\", expected one of BPE");
  EXPECT_THAT(error(R"({"model": {"vocab": {"a": 0}}})"),
              HasSubstr("tokenizer.json: model: \"type\": found nothing"));
  EXPECT_THAT(error(R"({"version": "2.0"})"),
              HasSubstr("\"version\": found \"2.0\", expected \"1.0\""));
  std::string json = TokenizerText{}.Json();
  json.insert(1, R"("extra": 1, )");
  EXPECT_THAT(error(json), HasSubstr("tokenizer.json: found the unknown key \"extra\""));
}

TEST(Tokenizer, TruncationAndPaddingOfTheFileAreIgnored) {
  EXPECT_THAT(Tokenizer::FromJson(R"({"truncation": {"max_length": 1}, "padding": {"pad_id": 9},
                  "model": {"type": "BPE", "vocab": {"a": 0, "b": 1}, "merges": []}})",
                                  "t")
                  .Encode("aba", SpecialTokens::kAdd),
              ElementsAre(0, 1, 0));
}

TEST(Tokenizer, FilesOf2019NameNoModelType) {
  EXPECT_THAT(Tokenizer::FromJson(
                  R"({"model": {"vocab": {"a": 0, "b": 1, "ab": 2}, "merges": ["a b"]}})", "t")
                  .Encode("aba", SpecialTokens::kAdd),
              ElementsAre(2, 0));
}

}  // namespace
}  // namespace kvtune::tokenizer
