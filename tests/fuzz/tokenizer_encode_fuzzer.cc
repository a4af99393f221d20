// Any text, in the tokenizers of published models: their pre-tokenizers and normalizers over a
// vocabulary of all bytes.
#include <nlohmann/json.hpp>
#include <vector>

#include "lib/base/json_fields.h"
#include "lib/tokenizer/byte_level.h"
#include "lib/tokenizer/tokenizer.h"
#include "lib/tokenizer/unicode.h"
#include "tests/fuzz/fuzzer.h"

namespace kvtune {
namespace {

struct Style {
  const char* pre_tokenizer;
  const char* normalizer;
  const char* decoder;
  bool is_byte_level;
};

constexpr const char* kByteLevel =
    R"({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true})";
constexpr const char* kLlama3 =
    R"({"type": "Sequence", "pretokenizers": [{"type": "Split", "behavior": "Isolated", )"
    R"("invert": false, "pattern": {"Regex": "(?i:'s|'t|'re|'ve|'m|'ll|'d)|)"
    R"([^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|)"
    R"(\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"}}, {"type": "ByteLevel", "add_prefix_space": false, )"
    R"("trim_offsets": true, "use_regex": false}]})";
constexpr const char* kMetaspace =
    R"({"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first", "split": false})";
constexpr const char* kDigits =
    R"({"type": "Sequence", "pretokenizers": [{"type": "Digits", "individual_digits": true}, )"
    R"({"type": "Punctuation", "behavior": "Isolated"}, {"type": "ByteLevel", )"
    R"("add_prefix_space": true, "trim_offsets": true, "use_regex": true}]})";
constexpr const char* kFallback =
    R"({"type": "Sequence", "decoders": [{"type": "Replace", "pattern": {"String": "▁"}, )"
    R"("content": " "}, {"type": "ByteFallback"}, {"type": "Fuse"}, {"type": "Strip", )"
    R"("content": " ", "start": 1, "stop": 0}]})";
constexpr const char* kPrepend =
    R"({"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "▁"}, )"
    R"({"type": "Replace", "pattern": {"String": " "}, "content": "▁"}]})";

constexpr Style kStyles[] = {
    {kByteLevel, "null", kByteLevel, true},
    {kLlama3, R"({"type": "NFC"})", kByteLevel, true},
    {kDigits, R"({"type": "NFKC"})", kByteLevel, true},
    {kMetaspace, "null", kFallback, false},
    {"null", kPrepend, kFallback, false},
};

std::string ByteSymbol(char byte) {
  std::string symbol;
  tokenizer::AppendByteCharacters({&byte, 1}, symbol);
  return symbol;
}

// One token for every byte, and some for pairs of letters. In a vocabulary with byte fallback the
// tokens of bytes are written <0x41>.
Tokenizer Make(const Style& style) {
  Json vocab = Json::object();
  Json merges = Json::array();
  const auto add = [&vocab](const std::string& token) {
    if (!vocab.contains(token)) vocab[token] = vocab.size();
  };
  add("<unk>");
  add("<s>");
  for (int byte = 0; byte < 256; ++byte) {
    constexpr const char* kHex = "0123456789ABCDEF";
    std::string symbol = std::string("<0x") + kHex[byte / 16] + kHex[byte % 16] + ">";
    if (style.is_byte_level) {
      symbol = ByteSymbol(static_cast<char>(byte));
    }
    add(symbol);
  }
  for (char c = 'a'; c <= 'z'; ++c) add(std::string(1, c));
  const std::string space = style.is_byte_level ? ByteSymbol(' ') : "▁";
  add(space);
  const std::pair<std::string, std::string> merged[] = {
      {space, "t"}, {"h", "e"}, {space + "t", "he"}, {"i", "n"}, {"in", "g"}, {space, space}};
  for (const auto& [left, right] : merged) {
    add(left);
    add(right);
    add(left + right);
    merges.push_back(Json::array({left, right}));
  }
  const Json begin = {{"id", 1},         {"content", "<s>"}, {"single_word", false},
                      {"lstrip", false}, {"rstrip", true},   {"normalized", false},
                      {"special", true}};
  Json json = {{"version", "1.0"},
               {"added_tokens", Json::array({begin})},
               {"normalizer", Json::parse(style.normalizer)},
               {"pre_tokenizer", Json::parse(style.pre_tokenizer)},
               {"post_processor", nullptr},
               {"decoder", Json::parse(style.decoder)},
               {"model",
                {{"type", "BPE"},
                 {"unk_token", "<unk>"},
                 {"fuse_unk", true},
                 {"byte_fallback", !style.is_byte_level},
                 {"vocab", std::move(vocab)},
                 {"merges", std::move(merges)}}}};
  return Tokenizer::FromJson(json.dump(), "tokenizer.json");
}

const std::vector<Tokenizer>& Tokenizers() {
  static const std::vector<Tokenizer> tokenizers = [] {
    std::vector<Tokenizer> list;
    for (const Style& style : kStyles) list.push_back(Make(style));
    return list;
  }();
  return tokenizers;
}

}  // namespace
}  // namespace kvtune

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace kvtune;
  static const bool made = !Tokenizers().empty();
  fuzz::Require(made, "the tokenizers can be made");
  return fuzz::Try(size, [&] {
    std::string_view text = fuzz::TextOf(data, size);
    const Tokenizer& tokenizer = Tokenizers()[fuzz::TakeChoice(text, std::size(kStyles))];
    const std::vector<int32_t> ids = tokenizer.Encode(text, SpecialTokens::kAdd);
    for (const int32_t id : ids) {
      fuzz::Require(id >= 0 && id < tokenizer.vocab_size(), "ids are in the vocabulary");
    }
    fuzz::Require(!tokenizer::FindInvalidUtf8(tokenizer.Decode(ids)), "a decoded text is UTF-8");
  });
}
