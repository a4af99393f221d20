#include "lib/tokenizer/decoder.h"

#include "tests/tokenizer/tokenizer_builder.h"

namespace kvtune::tokenizer {
namespace {

using ::testing::ElementsAre;

using Tokens = std::vector<std::string>;

Tokens Decoded(const std::string& config, Tokens tokens) {
  const Config parsed(config);
  MakeDecoder(parsed.fields())->Decode(tokens);
  return tokens;
}

TEST(Decoder, ByteLevelJoinsBytesOfSeveralTokens) {
  const std::string config =
      R"({"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true})";
  EXPECT_THAT(Decoded(config, {"Ġa", "Ã", "©"}), ElementsAre(" aé"));
  // A token with a character outside of the table is taken as it is.
  EXPECT_THAT(Decoded(config, {"Ġ", "<x y>", "中Ġ"}), ElementsAre(" <x y>中Ġ"));
  // One U+FFFD for each maximal part of a character: E2 82 is one, the lone A9 another.
  EXPECT_THAT(Decoded(config, {"âĤ", "a", "©"}), ElementsAre("\uFFFDa\uFFFD"));
}

TEST(Decoder, ByteFallbackJoinsBytesOrReplacesThem) {
  const std::string config = R"({"type": "ByteFallback"})";
  EXPECT_THAT(Decoded(config, {"a", "<0xC3>", "<0xa9>", "b"}), ElementsAre("a", "é", "b"));
  EXPECT_THAT(Decoded(config, {"<0xC3>", "<0x41>", "<0xGG>"}),
              ElementsAre("\uFFFD", "\uFFFD", "<0xGG>"));
}

TEST(Decoder, FuseReplaceAndStripChangeTokens) {
  EXPECT_THAT(Decoded(R"({"type": "Fuse"})", {"a", "b"}), ElementsAre("ab"));
  EXPECT_THAT(
      Decoded(R"({"type": "Replace", "pattern": {"String": "▁"}, "content": " "})", {"▁a▁", "b"}),
      ElementsAre(" a ", "b"));
  EXPECT_THAT(
      Decoded(R"({"type": "Strip", "content": " ", "start": 1, "stop": 2})", {"  a   ", "b", " "}),
      ElementsAre(" a ", "b", ""));
}

TEST(Decoder, MetaspaceDropsTheMarksOfTheFirstToken) {
  EXPECT_THAT(Decoded(R"({"type": "Metaspace", "replacement": "▁"})", {"▁a", "▁b"}),
              ElementsAre("a", " b"));
  EXPECT_THAT(Decoded(R"({"type": "Metaspace", "replacement": "▁", "prepend_scheme": "never"})",
                      {"▁a", "▁b"}),
              ElementsAre(" a", " b"));
}

TEST(Decoder, SequenceOfLlamaDecodesText) {
  EXPECT_THAT(Decoded(R"({"type": "Sequence", "decoders": [
      {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
      {"type": "ByteFallback"}, {"type": "Fuse"},
      {"type": "Strip", "content": " ", "start": 1, "stop": 0}]})",
                      {"▁▁a", "<0x0A>", "▁b"}),
              ElementsAre(" a\n b"));
}

TEST(Decoder, MistakesNameThePart) {
  const auto error = [](const std::string& config) {
    return ErrorOf([&] { Decoded(config, {}); });
  };
  EXPECT_EQ(error(R"({"type": "WordPiece", "prefix": "##"})"),
            "part: found the type \"WordPiece\", expected one of ByteFallback, ByteLevel, Fuse, "
            "Metaspace, Replace, "
            "Sequence, Strip");
  EXPECT_EQ(error(R"({"type": "Strip", "content": " ", "start": -1, "stop": 0})"),
            "part: \"start\": found -1, expected 0 or more");
}

}  // namespace
}  // namespace kvtune::tokenizer
