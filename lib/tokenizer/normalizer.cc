#include "lib/tokenizer/normalizer.h"

#include <fmt/format.h>

#include <functional>
#include <utility>
#include <vector>

#include "lib/base/error.h"
#include "lib/tokenizer/byte_level.h"
#include "lib/tokenizer/component_json.h"
#include "lib/tokenizer/pattern.h"
#include "lib/tokenizer/unicode.h"

// The behaviour follows `tokenizers` 0.23 (tokenizers/src/normalizers/*.rs). There a text carries
// the origin of every byte; `starts_input` keeps the only bit of this that token ids depend on.

namespace kvtune::tokenizer {
namespace {

void RequireRoom(const NormalizedText& text, size_t bytes) {
  if (bytes <= text.most_bytes) return;
  throw Error(
      fmt::format("tokenizing: found a normalizer that makes {} bytes of a text, expected "
                  "at most {}",
                  bytes, text.most_bytes));
}

class Sequence : public Normalizer {
 public:
  explicit Sequence(std::vector<std::unique_ptr<Normalizer>> steps) : steps_(std::move(steps)) {}
  void Normalize(NormalizedText& text) const override {
    for (const auto& step : steps_) {
      step->Normalize(text);
      RequireRoom(text, text.text.size());
    }
  }

 private:
  std::vector<std::unique_ptr<Normalizer>> steps_;
};

class UnicodeForm : public Normalizer {
 public:
  explicit UnicodeForm(NormalizationForm form) : form_(form) {}
  void Normalize(NormalizedText& text) const override {
    text.text = ToNormalizationForm(std::move(text.text), form_);
  }

 private:
  NormalizationForm form_;
};

class Prepend : public Normalizer {
 public:
  explicit Prepend(std::string prefix) : prefix_(std::move(prefix)) {}
  void Normalize(NormalizedText& text) const override {
    if (text.text.empty()) return;
    RequireRoom(text, text.text.size() + prefix_.size());
    text.text.insert(0, prefix_);
  }

 private:
  std::string prefix_;
};

class Replace : public Normalizer {
 public:
  Replace(Pattern pattern, std::string content)
      : pattern_(std::move(pattern)), content_(std::move(content)) {}
  void Normalize(NormalizedText& text) const override {
    std::vector<CoverPart> cover;
    pattern_.AppendCover(text.text, cover);
    if (cover.empty()) return;
    // The replacement takes the origin of the last character it replaces (normalizer.rs,
    // `replace`).
    const CoverPart& first = cover.front();
    if (first.is_match && first.end > first.begin &&
        (content_.empty() || DecodeCodePoint(text.text, 0).length < first.end)) {
      text.starts_input = false;
    }
    size_t bytes = 0;
    for (const CoverPart& part : cover) {
      bytes += part.is_match ? content_.size() : part.end - part.begin;
    }
    RequireRoom(text, bytes);
    std::string replaced;
    replaced.reserve(bytes);
    for (const CoverPart& part : cover) {
      if (part.is_match) {
        replaced.append(content_);
      } else {
        replaced.append(text.text, part.begin, part.end - part.begin);
      }
    }
    text.text = std::move(replaced);
  }

 private:
  Pattern pattern_;
  std::string content_;
};

class Strip : public Normalizer {
 public:
  Strip(bool strips_left, bool strips_right)
      : strips_left_(strips_left), strips_right_(strips_right) {}
  void Normalize(NormalizedText& text) const override {
    std::string& content = text.text;
    size_t end = content.size();
    while (strips_right_ && end > 0) {
      const DecodedCodePoint last = DecodeCodePointBefore(content, end);
      if (!IsWhitespace(last.value)) break;
      end -= last.length;
    }
    size_t begin = 0;
    while (strips_left_ && begin < end) {
      const DecodedCodePoint first = DecodeCodePoint(content, begin);
      if (!IsWhitespace(first.value)) break;
      begin += first.length;
    }
    if (begin > 0) text.starts_input = false;
    content.erase(end);
    content.erase(0, begin);
  }

 private:
  bool strips_left_;
  bool strips_right_;
};

// Rewrites one code point at a time. Where nothing is appended the code point is dropped.
class CharacterMap : public Normalizer {
 public:
  using Append = void (*)(char32_t, std::string&);
  explicit CharacterMap(Append append) : append_(append) {}
  void Normalize(NormalizedText& text) const override {
    std::string mapped;
    mapped.reserve(text.text.size());
    for (size_t offset = 0; offset < text.text.size();) {
      const DecodedCodePoint code_point = DecodeCodePoint(text.text, offset);
      append_(code_point.value, mapped);
      if (offset == 0 && mapped.empty()) text.starts_input = false;
      offset += code_point.length;
    }
    text.text = std::move(mapped);
  }

 private:
  Append append_;
};

class ByteLevel : public Normalizer {
 public:
  void Normalize(NormalizedText& text) const override {
    std::string mapped;
    AppendByteCharacters(text.text, mapped);
    text.text = std::move(mapped);
  }
};

// The rules of SentencePiece's NMT normalization (normalizers/unicode.rs, `do_nmt`).
void AppendNmt(char32_t c, std::string& text) {
  const bool dropped = (c >= 0x01 && c <= 0x08) || c == 0x0B || (c >= 0x0E && c <= 0x1F) ||
                       c == 0x7F || c == 0x8F || c == 0x9F;
  if (dropped) return;
  const bool is_space = c == 0x09 || c == 0x0A || c == 0x0C || c == 0x0D || c == 0x1680 ||
                        (c >= 0x200B && c <= 0x200F) || c == 0x2028 || c == 0x2029 || c == 0x2581 ||
                        c == 0xFEFF || c == 0xFFFD;
  AppendUtf8(is_space ? U' ' : c, text);
}

std::unique_ptr<Normalizer> MakeSequence(JsonFields& fields) {
  std::vector<std::unique_ptr<Normalizer>> steps;
  for (JsonFields& step : fields.Objects("normalizers"))
    steps.push_back(MakeNormalizer(std::move(step)));
  return std::make_unique<Sequence>(std::move(steps));
}

std::unique_ptr<Normalizer> MakeByType(const std::string& type, JsonFields& fields) {
  if (type == "Sequence") return MakeSequence(fields);
  if (type == "NFC") return std::make_unique<UnicodeForm>(NormalizationForm::kNfc);
  if (type == "NFD") return std::make_unique<UnicodeForm>(NormalizationForm::kNfd);
  if (type == "NFKC") return std::make_unique<UnicodeForm>(NormalizationForm::kNfkc);
  if (type == "NFKD") return std::make_unique<UnicodeForm>(NormalizationForm::kNfkd);
  if (type == "Prepend") return std::make_unique<Prepend>(fields.String("prepend"));
  if (type == "Replace") {
    Pattern pattern = Pattern::FromJson(fields.Object("pattern"));
    return std::make_unique<Replace>(std::move(pattern), fields.String("content"));
  }
  if (type == "Strip") {
    const bool strips_left = fields.Bool("strip_left");
    return std::make_unique<Strip>(strips_left, fields.Bool("strip_right"));
  }
  if (type == "Lowercase") return std::make_unique<CharacterMap>(&AppendLowercase);
  if (type == "Nmt") return std::make_unique<CharacterMap>(&AppendNmt);
  if (type == "ByteLevel") return std::make_unique<ByteLevel>();
  FailUnknownType(fields, type,
                  {"ByteLevel", "Lowercase", "NFC", "NFD", "NFKC", "NFKD", "Nmt", "Prepend",
                   "Replace", "Sequence", "Strip"});
}

}  // namespace

std::unique_ptr<Normalizer> MakeNormalizer(JsonFields fields) {
  const std::string type = fields.String("type");
  std::unique_ptr<Normalizer> normalizer = MakeByType(type, fields);
  fields.RequireNoOthers();
  return normalizer;
}

}  // namespace kvtune::tokenizer
