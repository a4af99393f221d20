#include "lib/tokenizer/post_processor.h"

#include "tests/tokenizer/tokenizer_builder.h"

namespace kvtune::tokenizer {
namespace {

using ::testing::ElementsAre;

constexpr char kTemplate[] = R"({"type": "TemplateProcessing",
  "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}},
             {"SpecialToken": {"id": "<end>", "type_id": 0}}],
  "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
  "special_tokens": {"<s>": {"id": "<s>", "ids": [9], "tokens": ["<s>"]},
                     "<end>": {"id": "<end>", "ids": [7, 8], "tokens": ["<", ">"]}}})";

std::vector<int32_t> Processed(const std::string& config, SpecialTokens special_tokens) {
  const Config parsed(config);
  return MakePostProcessor(parsed.fields())->Process({1, 2}, special_tokens);
}

TEST(PostProcessor, TemplateAddsOrOmits) {
  EXPECT_THAT(Processed(kTemplate, SpecialTokens::kAdd), ElementsAre(9, 1, 2, 7, 8));
  EXPECT_THAT(Processed(kTemplate, SpecialTokens::kOmit), ElementsAre(1, 2));
}

TEST(PostProcessor, ByteLevelAddsNothingAlsoInASequence) {
  const std::string byte_level =
      R"({"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": false,
          "use_regex": true})";
  EXPECT_THAT(Processed(byte_level, SpecialTokens::kAdd), ElementsAre(1, 2));
  EXPECT_THAT(
      Processed(R"({"type": "Sequence", "processors": [)" + byte_level + ", " + kTemplate + "]}",
                SpecialTokens::kAdd),
      ElementsAre(9, 1, 2, 7, 8));
}

TEST(PostProcessor, BertAndRobertaPutATokenOnEitherSide) {
  for (const char* config : {R"({"type": "BertProcessing", "sep": ["x", 8], "cls": ["y", 9]})",
                             R"({"type": "RobertaProcessing", "sep": ["x", 8], "cls": ["y", 9],
                                 "trim_offsets": true, "add_prefix_space": false})"}) {
    EXPECT_THAT(Processed(config, SpecialTokens::kAdd), ElementsAre(9, 1, 2, 8));
    EXPECT_THAT(Processed(config, SpecialTokens::kOmit), ElementsAre(1, 2));
  }
}

TEST(PostProcessor, MistakesNameThePart) {
  const auto error = [](const std::string& config) {
    return ErrorOf([&] { Processed(config, SpecialTokens::kAdd); });
  };
  EXPECT_EQ(error(R"({"type": "Other"})"),
            "part: found the type \"Other\", expected one of BertProcessing, ByteLevel, "
            "RobertaProcessing, Sequence, TemplateProcessing");
  EXPECT_EQ(error(R"({"type": "BertProcessing", "sep": ["x", 1], "cls": ["y", -2]})"),
            "part: \"cls\": found [\"y\",-2], expected a token and its id");
  EXPECT_EQ(
      error(
          R"({"type": "TemplateProcessing",
                      "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}],
                      "pair": [], "special_tokens": {}})"),
      "part: single[0]: SpecialToken: \"id\": found \"<s>\", expected a key of \"special_tokens\"");
  EXPECT_EQ(
      error(R"({"type": "TemplateProcessing", "single": [{"Sequence": {"id": "B", "type_id": 0}}],
                      "pair": [], "special_tokens": {}})"),
      "part: single[0]: Sequence: \"id\": found \"B\", expected \"A\": \"single\" has one text");
}

// A sequence of templates could double the ids in every step, and one list could be named often.
TEST(PostProcessor, TemplatesAddAFewIds) {
  const auto error = [](const std::string& pieces, const std::string& ids) {
    return ErrorOf([&] {
      Processed(R"({"type": "TemplateProcessing", "pair": [], "single": [)" + pieces +
                    R"(], "special_tokens": {"s": {"id": "s", "tokens": [], "ids": [)" + ids +
                    "]}}}",
                SpecialTokens::kAdd);
    });
  };
  const std::string text = R"({"Sequence": {"id": "A", "type_id": 0}})";
  EXPECT_EQ(error(text + ", " + text, "1"),
            "part: \"single\": found the text 2 times, expected it once");
  const std::string special = R"({"SpecialToken": {"id": "s", "type_id": 0}})";
  std::string pieces = special, ids = "1";
  for (int i = 1; i < 70; ++i) {
    pieces += ", " + special;
    ids += ", 1";
  }
  EXPECT_EQ(error(pieces, ids),
            "part: \"single\": found more than 4096 special tokens, expected a few");
}

}  // namespace
}  // namespace kvtune::tokenizer
