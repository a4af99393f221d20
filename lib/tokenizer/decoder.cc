#include "lib/tokenizer/decoder.h"

#include <fmt/format.h>

#include <charconv>
#include <optional>
#include <utility>

#include "lib/tokenizer/byte_level.h"
#include "lib/tokenizer/component_json.h"
#include "lib/tokenizer/metaspace.h"
#include "lib/tokenizer/pattern.h"
#include "lib/tokenizer/unicode.h"

// The behaviour follows `tokenizers` 0.23 (tokenizers/src/decoders/*.rs,
// pre_tokenizers/byte_level.rs, pre_tokenizers/metaspace.rs, normalizers/replace.rs).

namespace kvtune::tokenizer {
namespace {

class Sequence : public Decoder {
 public:
  explicit Sequence(std::vector<std::unique_ptr<Decoder>> steps) : steps_(std::move(steps)) {}
  void Decode(std::vector<std::string>& tokens) const override {
    for (const auto& step : steps_) step->Decode(tokens);
  }

 private:
  std::vector<std::unique_ptr<Decoder>> steps_;
};

// Turns characters into bytes again. A token with a character outside of the table, which added
// tokens may have, is taken as it is.
class ByteLevel : public Decoder {
 public:
  void Decode(std::vector<std::string>& tokens) const override {
    std::string bytes;
    for (const std::string& token : tokens) {
      const size_t begin = bytes.size();
      for (size_t offset = 0; offset < token.size();) {
        const DecodedCodePoint character = DecodeCodePoint(token, offset);
        const std::optional<unsigned char> byte = ByteOfCharacter(character.value);
        if (!byte) {
          bytes.resize(begin);
          bytes.append(token);
          break;
        }
        bytes.push_back(static_cast<char>(*byte));
        offset += character.length;
      }
    }
    tokens.assign(1, ReplaceInvalidUtf8(bytes));
  }
};

// Turns runs of tokens like <0xE2> into the characters that they spell, or into one U+FFFD for each
// byte when they spell none.
class ByteFallback : public Decoder {
 public:
  void Decode(std::vector<std::string>& tokens) const override {
    std::vector<std::string> decoded;
    std::string bytes;
    const auto flush = [&] {
      if (bytes.empty()) return;
      if (FindInvalidUtf8(bytes)) {
        decoded.insert(decoded.end(), bytes.size(), "\uFFFD");
      } else {
        decoded.push_back(bytes);
      }
      bytes.clear();
    };
    for (std::string& token : tokens) {
      if (const std::optional<char> byte = ByteOf(token)) {
        bytes.push_back(*byte);
      } else {
        flush();
        decoded.push_back(std::move(token));
      }
    }
    flush();
    tokens = std::move(decoded);
  }

 private:
  static std::optional<char> ByteOf(const std::string& token) {
    if (token.size() != 6 || !token.starts_with("<0x") || !token.ends_with('>'))
      return std::nullopt;
    unsigned value = 0;
    const char* end = token.data() + 5;
    const auto [stop, error] = std::from_chars(token.data() + 3, end, value, 16);
    if (error != std::errc() || stop != end) return std::nullopt;
    return static_cast<char>(value);
  }
};

class Fuse : public Decoder {
 public:
  void Decode(std::vector<std::string>& tokens) const override {
    std::string fused;
    for (const std::string& token : tokens) fused.append(token);
    tokens.assign(1, fused);
  }
};

class Replace : public Decoder {
 public:
  Replace(Pattern pattern, std::string content)
      : pattern_(std::move(pattern)), content_(std::move(content)) {}
  void Decode(std::vector<std::string>& tokens) const override {
    for (std::string& token : tokens) token = pattern_.Replace(token, content_);
  }

 private:
  Pattern pattern_;
  std::string content_;
};

// Takes up to `start` leading and `stop` trailing copies of a character off every token.
class Strip : public Decoder {
 public:
  Strip(char32_t character, int64_t start, int64_t stop) : start_(start), stop_(stop) {
    AppendUtf8(character, content_);
  }
  void Decode(std::vector<std::string>& tokens) const override {
    for (std::string& token : tokens) {
      for (int64_t i = 0; i < start_ && token.starts_with(content_); ++i)
        token.erase(0, content_.size());
      for (int64_t i = 0; i < stop_ && token.ends_with(content_); ++i)
        token.erase(token.size() - content_.size());
    }
  }

 private:
  std::string content_;
  int64_t start_;
  int64_t stop_;
};

// Turns marks into spaces. Those of the first token are dropped, unless the tokenizer prepends no
// mark.
class Metaspace : public Decoder {
 public:
  explicit Metaspace(const MetaspaceOptions& options)
      : mark_(Pattern::Literal(options.mark)),
        drops_first_(options.prepend_scheme != PrependScheme::kNever) {}
  void Decode(std::vector<std::string>& tokens) const override {
    for (size_t i = 0; i < tokens.size(); ++i) {
      tokens[i] = mark_.Replace(tokens[i], i == 0 && drops_first_ ? "" : " ");
    }
  }

 private:
  Pattern mark_;
  bool drops_first_;
};

int64_t ReadCount(JsonFields& fields, std::string_view key) {
  const int64_t count = fields.Integer(key);
  if (count < 0) fields.Fail(key, fmt::format("found {}, expected 0 or more", count));
  return count;
}

std::unique_ptr<Decoder> MakeByType(const std::string& type, JsonFields& fields) {
  if (type == "Sequence") {
    std::vector<std::unique_ptr<Decoder>> steps;
    for (JsonFields& step : fields.Objects("decoders"))
      steps.push_back(MakeDecoder(std::move(step)));
    return std::make_unique<Sequence>(std::move(steps));
  }
  if (type == "ByteLevel") {
    for (const char* option : {"add_prefix_space", "trim_offsets", "use_regex"})
      fields.Ignore(option);
    return std::make_unique<ByteLevel>();
  }
  if (type == "ByteFallback") return std::make_unique<ByteFallback>();
  if (type == "Fuse") return std::make_unique<Fuse>();
  if (type == "Replace") {
    Pattern pattern = Pattern::FromJson(fields.Object("pattern"));
    return std::make_unique<Replace>(std::move(pattern), fields.String("content"));
  }
  if (type == "Strip") {
    const char32_t character = Character(fields, "content");
    const int64_t start = ReadCount(fields, "start");
    return std::make_unique<Strip>(character, start, ReadCount(fields, "stop"));
  }
  if (type == "Metaspace") return std::make_unique<Metaspace>(ReadMetaspaceOptions(fields));
  FailUnknownType(
      fields, type,
      {"ByteFallback", "ByteLevel", "Fuse", "Metaspace", "Replace", "Sequence", "Strip"});
}

}  // namespace

std::unique_ptr<Decoder> MakeDecoder(JsonFields fields) {
  const std::string type = fields.String("type");
  std::unique_ptr<Decoder> decoder = MakeByType(type, fields);
  fields.RequireNoOthers();
  return decoder;
}

}  // namespace kvtune::tokenizer
