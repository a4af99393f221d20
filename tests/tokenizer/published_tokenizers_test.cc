// The published tokenizers: ids and texts below come from `tokenizers` 0.23.1.
// scripts/oracles/tokenizer_parity.py compares many more lines.

#include <cctype>
#include <filesystem>
#include <fstream>

#include "tests/tokenizer/tokenizer_builder.h"

namespace kvtune::tokenizer {
namespace {

struct Published {
  const char* name;
  int64_t vocab_size;
  std::vector<int32_t> ids;  // of kText, with special tokens
  const char* prefix;        // what decoding puts before the text
};

constexpr char kText[] = "<s>naïve e\u0301 中 👍🏽</s>\n\n    42 years<|endoftext|> \u00A0x";

void PrintTo(const Published& published, std::ostream* stream) { *stream << published.name; }

class PublishedTokenizer : public ::testing::TestWithParam<Published> {
 protected:
  void SetUp() override {
    folder_ = std::filesystem::path(KVTUNE_SHARED_DATA_DIR) / "tokenizers" / GetParam().name;
    if (!std::filesystem::exists(folder_ / "tokenizer.json")) {
      GTEST_SKIP() << "found no " << folder_ << ", the optional published tokenizers";
    }
  }
  Tokenizer Load() const { return Tokenizer::FromFile(folder_ / "tokenizer.json"); }

  std::filesystem::path folder_;
};

TEST_P(PublishedTokenizer, GivesTheIdsOfTheReference) {
  const Tokenizer tokenizer = Load();
  EXPECT_EQ(tokenizer.vocab_size(), GetParam().vocab_size);
  EXPECT_EQ(tokenizer.Encode(kText, SpecialTokens::kAdd), GetParam().ids);
  EXPECT_EQ(tokenizer.Decode(GetParam().ids).substr(0, std::string(GetParam().prefix).size()),
            GetParam().prefix);
}

TEST_P(PublishedTokenizer, DecodesWhatItEncoded) {
  const Tokenizer tokenizer = Load();
  std::ifstream file(folder_ / "../../prompts/wikitext2/wiki.test.raw");
  if (!file) GTEST_SKIP() << "found no wikitext2 beside the published tokenizers";
  // Lines begin with a letter: tokenizers after SentencePiece's example drop a leading space.
  std::string line;
  for (int lines = 0; lines < 300 && std::getline(file, line); ++lines) {
    line.insert(0, "x");
    ASSERT_EQ(tokenizer.Decode(tokenizer.Encode(line, SpecialTokens::kOmit)), line);
  }
}

std::string NameOf(const ::testing::TestParamInfo<Published>& published) {
  std::string name = published.param.name;
  for (char& c : name) {
    if (std::isalnum(static_cast<unsigned char>(c)) == 0) c = '_';
  }
  return name;
}

INSTANTIATE_TEST_SUITE_P(
    All, PublishedTokenizer,
    ::testing::Values(
        Published{"qwen3",
                  151669,
                  {44047, 29,   3376, 37572, 586, 3958, 72858, 61804,  235, 145375, 522,
                   82,    1339, 262,  220,   19,  17,   1635,  151643, 220, 4102,   87},
                  "<s>"},
        Published{"mistral_v0.3",
                  32768,
                  {1,     1,     2288, 29688, 1101,  1085,  29717, 29473, 29759, 29473,
                   30963, 31775, 2,    781,   781,   1028,  29549, 29518, 2035,  29557,
                   29534, 1184,  1777, 1540,  29534, 29535, 29473, 29768, 29512},
                  "<s><s>"},
        Published{"gpt2",
                  50257,
                  {27,  82,   29, 2616, 38776, 304, 136, 223, 220,  40792, 50169, 235, 8582, 237,
                   121, 3556, 82, 29,   628,   220, 220, 220, 5433, 812,   50256, 220, 1849, 87},
                  "<s>"},
        Published{"llama2",
                  32000,
                  {1,     1,    1055,  30085, 345, 321, 30103, 29871, 30275, 29871, 243,  162,
                   148,   144,  243,   162,   146, 192, 2,     29871, 13,    13,    268,  29946,
                   29906, 2440, 29966, 29989, 355, 974, 726,   29989, 29958, 20246, 29916},
                  "<s><s> "},
        Published{"phi-2",
                  50295,
                  {27,  82,  29,   2616, 38776, 304, 136,   223,  220, 40792, 50169, 235,  8582,
                   237, 121, 3556, 82,   29,    628, 50284, 3682, 812, 50256, 220,   1849, 87},
                  "<s>"}),
    NameOf);

}  // namespace
}  // namespace kvtune::tokenizer
