#include "lib/tokenizer/bpe_model.h"

#include <random>

#include "tests/tokenizer/tokenizer_builder.h"

namespace kvtune::tokenizer {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

std::vector<int32_t> IdsOfMerges(const TokenizerText& text, const std::string& input) {
  return text.Make().Encode(input, SpecialTokens::kAdd);
}

TEST(BpeModel, MergesByRankThenFromTheLeft) {
  TokenizerText text;
  EXPECT_THAT(IdsOfMerges(text, "abcabab"), ElementsAre(6, 5, 5));
  EXPECT_THAT(IdsOfMerges(text, ""), IsEmpty());
  text.vocab = R"({"a": 0, "aa": 1, "b": 2, "ab": 3})";
  text.merges = R"([["a", "a"], ["a", "b"]])";
  EXPECT_THAT(IdsOfMerges(text, "aaab"), ElementsAre(1, 3));
  EXPECT_THAT(IdsOfMerges(text, "aaaab"), ElementsAre(1, 1, 2));
}

TEST(BpeModel, MergesAreReadAsStringsAndAsPairs) {
  TokenizerText text;
  text.merges = R"(["#version: 0.2", "a b", "ab c"])";
  EXPECT_THAT(IdsOfMerges(text, "abc"), ElementsAre(6));
  text.merges = R"([["a", "b"], ["ab", "c"]])";
  EXPECT_THAT(IdsOfMerges(text, "abc"), ElementsAre(6));
}

TEST(BpeModel, LaterOfEqualMergesCounts) {
  TokenizerText text;
  text.vocab = R"({"a": 0, "b": 1, "c": 2, "ab": 3, "bc": 4})";
  text.merges = R"(["a b", "b c"])";
  EXPECT_THAT(IdsOfMerges(text, "abc"), ElementsAre(3, 2));
  text.merges = R"(["a b", "b c", "a b"])";
  EXPECT_THAT(IdsOfMerges(text, "abc"), ElementsAre(0, 4));
}

TEST(BpeModel, UnknownCharactersMayBeFused) {
  TokenizerText text;
  text.vocab = R"({"<unk>": 0, "a": 1})";
  text.merges = "[]";
  text.options = R"(, "unk_token": "<unk>")";
  EXPECT_THAT(IdsOfMerges(text, "axyax"), ElementsAre(1, 0, 0, 1, 0));
  text.options = R"(, "unk_token": "<unk>", "fuse_unk": true)";
  EXPECT_THAT(IdsOfMerges(text, "axyax"), ElementsAre(1, 0, 1, 0));
}

TEST(BpeModel, ByteFallbackTakesAllBytesOrNone) {
  TokenizerText text;
  text.vocab = R"({"<unk>": 0, "a": 1, "<0xC3>": 2, "<0xA9>": 3})";
  text.merges = "[]";
  text.options = R"(, "unk_token": "<unk>", "byte_fallback": true, "fuse_unk": true)";
  EXPECT_THAT(IdsOfMerges(text, "aé"), ElementsAre(1, 2, 3));
  // All bytes or none: U+00E8 needs <0xA8>. Bytes overtake an unknown token that waits (model.rs).
  EXPECT_THAT(IdsOfMerges(text, "aè"), ElementsAre(1, 0));
  EXPECT_THAT(IdsOfMerges(text, "aèéa"), ElementsAre(1, 2, 3, 0, 1));
}

TEST(BpeModel, IgnoreMergesTakesWholeWords) {
  TokenizerText text;
  text.vocab = R"({"a": 0, "b": 1, "ba": 2})";
  text.merges = "[]";
  EXPECT_THAT(IdsOfMerges(text, "ba"), ElementsAre(1, 0));
  text.options = R"(, "ignore_merges": true)";
  EXPECT_THAT(IdsOfMerges(text, "ba"), ElementsAre(2));
  EXPECT_THAT(IdsOfMerges(text, "bab"), ElementsAre(1, 0, 1));
}

TEST(BpeModel, EmptyAndNullOptionsAreUnset) {
  TokenizerText text;
  text.options =
      R"(, "dropout": null, "unk_token": null, "continuing_subword_prefix": "",
           "end_of_word_suffix": null)";
  EXPECT_THAT(IdsOfMerges(text, "abc"), ElementsAre(6));
}

// The definition, slow: merge the best pair, the leftmost of the best, until none is left.
std::vector<int32_t> MergeSlowly(std::vector<int32_t> ids, const MergeTable& merges) {
  while (true) {
    size_t best = ids.size();
    const Merge* best_merge = nullptr;
    for (size_t i = 0; i + 1 < ids.size(); ++i) {
      const Merge* merge = merges.Find(ids[i], ids[i + 1]);
      if (merge != nullptr && (best_merge == nullptr || merge->rank < best_merge->rank)) {
        best = i;
        best_merge = merge;
      }
    }
    if (best_merge == nullptr) return ids;
    ids[best] = best_merge->id;
    ids.erase(ids.begin() + static_cast<std::ptrdiff_t>(best) + 1);
  }
}

TEST(BpeModel, AgreesWithTheDefinitionOnRandomMerges) {
  std::mt19937 random(7);
  const auto below = [&](size_t end) { return static_cast<size_t>(random() % end); };
  for (int round = 0; round < 30; ++round) {
    std::vector<std::string> tokens = {"a", "b", "c"};
    Json vocab = {{"a", 0}, {"b", 1}, {"c", 2}};
    Json merges = Json::array();
    std::vector<std::pair<size_t, size_t>> pairs;
    while (tokens.size() < 60) {
      const size_t left = below(tokens.size());
      const size_t right = below(tokens.size());
      const std::string merged = tokens[left] + tokens[right];
      if (vocab.contains(merged) || merged.size() > 12) continue;
      vocab[merged] = tokens.size();
      merges.push_back({tokens[left], tokens[right]});
      pairs.emplace_back(left, right);
      tokens.push_back(merged);
    }
    MergeTable table(pairs.size());
    for (size_t rank = 0; rank < pairs.size(); ++rank) {
      table.Insert(static_cast<int32_t>(pairs[rank].first),
                   static_cast<int32_t>(pairs[rank].second),
                   {static_cast<uint32_t>(rank), static_cast<int32_t>(rank + 3)});
    }
    TokenizerText text;
    text.vocab = vocab.dump();
    text.merges = merges.dump();
    const Tokenizer tokenizer = text.Make();
    for (int word = 0; word < 40; ++word) {
      std::string input(1 + below(300), ' ');
      std::vector<int32_t> characters;
      for (char& c : input) {
        characters.push_back(static_cast<int32_t>(below(3)));
        c = static_cast<char>('a' + characters.back());
      }
      ASSERT_EQ(tokenizer.Encode(input, SpecialTokens::kAdd), MergeSlowly(characters, table))
          << input;
    }
  }
}

TEST(BpeModel, MistakesNameTheField) {
  const auto error = [](const TokenizerText& text) { return ErrorOf([&] { text.Make(); }); };
  TokenizerText text;
  text.merges = R"(["a x"])";
  EXPECT_EQ(error(text),
            "tokenizer.json: model: merges[0]: found the token \"x\", expected a token of the "
            "vocabulary");
  text.merges = R"(["a b", "b c"])";
  EXPECT_EQ(error(text),
            "tokenizer.json: model: merges[1]: found the token \"bc\", expected a token of the "
            "vocabulary");

  text = {};
  text.options = R"(, "unk_token": "<unk>")";
  EXPECT_EQ(
      error(text),
      "tokenizer.json: model: unk_token: found \"<unk>\", expected a token of the vocabulary");
  text.options = R"(, "dropout": 0.1)";
  EXPECT_EQ(error(text),
            "tokenizer.json: model: \"dropout\": found 0.1, expected null or 0: encoding must not "
            "be random");
  text.options = R"(, "continuing_subword_prefix": "##")";
  EXPECT_THAT(error(text), HasSubstr("\"continuing_subword_prefix\": found \"##\", expected null"));
  text.options = R"(, "end_of_word_suffix": "</w>")";
  EXPECT_THAT(error(text), HasSubstr("\"end_of_word_suffix\": found \"</w>\", expected null"));
  text.options = R"(, "speed": 1)";
  EXPECT_THAT(error(text), HasSubstr("tokenizer.json: model: found the unknown key \"speed\""));
}

TEST(BpeModel, LeavesOutUnknownCharactersWithoutAnUnknownToken) {
  const Tokenizer tokenizer = TokenizerText{}.Make();
  const auto encode = [&](const char* text) { return tokenizer.Encode(text, SpecialTokens::kAdd); };
  EXPECT_EQ(encode("aé"), encode("a"));
  EXPECT_EQ(encode("éa"), encode("a"));
  EXPECT_TRUE(encode("é").empty());
}

}  // namespace
}  // namespace kvtune::tokenizer
