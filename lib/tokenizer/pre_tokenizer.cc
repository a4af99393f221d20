#include "lib/tokenizer/pre_tokenizer.h"

#include <fmt/format.h>

#include <utility>

#include "lib/tokenizer/byte_level.h"
#include "lib/tokenizer/component_json.h"
#include "lib/tokenizer/metaspace.h"
#include "lib/tokenizer/pattern.h"
#include "lib/tokenizer/split_behavior.h"
#include "lib/tokenizer/unicode.h"

// The behaviour follows `tokenizers` 0.23 (tokenizers/src/pre_tokenizers/*.rs).

namespace kvtune::tokenizer {
namespace {

// Appends the parts of `word` as words of their own. `offset` is the position in the buffer where
// the cover begins to count.
void AppendParts(const WordRange& word, size_t offset, const std::vector<CoverPart>& parts,
                 std::vector<WordRange>& words) {
  for (const CoverPart& part : parts) {
    if (part.end == part.begin) continue;
    words.push_back({offset + part.begin, offset + part.end, word.starts_input && part.begin == 0});
  }
}

class Sequence : public PreTokenizer {
 public:
  explicit Sequence(std::vector<std::unique_ptr<PreTokenizer>> steps) : steps_(std::move(steps)) {}
  void PreTokenize(WordList& list) const override {
    for (const auto& step : steps_) step->PreTokenize(list);
  }

 private:
  std::vector<std::unique_ptr<PreTokenizer>> steps_;
};

// Splits at a pattern, and leaves the text as it is.
class Split : public PreTokenizer {
 public:
  Split(Pattern pattern, SplitBehavior behavior, bool inverts)
      : pattern_(std::move(pattern)), behavior_(behavior), inverts_(inverts) {}

  void PreTokenize(WordList& list) const override {
    std::vector<WordRange> words;
    std::vector<CoverPart> cover;
    for (const WordRange& word : list.words) {
      cover.clear();
      pattern_.AppendCover(list.Word(word), cover);
      if (inverts_) {
        for (CoverPart& part : cover) part.is_match = !part.is_match;
      }
      ApplySplitBehavior(behavior_, cover);
      AppendParts(word, word.begin, cover, words);
    }
    list.words = std::move(words);
  }

 private:
  Pattern pattern_;
  SplitBehavior behavior_;
  bool inverts_;
};

// Splits at single characters of a class.
class CharacterSplit : public PreTokenizer {
 public:
  using Matches = bool (*)(char32_t);
  CharacterSplit(Matches matches, SplitBehavior behavior)
      : matches_(matches), behavior_(behavior) {}

  void PreTokenize(WordList& list) const override {
    std::vector<WordRange> words;
    std::vector<CoverPart> cover;
    for (const WordRange& word : list.words) {
      const std::string_view text = list.Word(word);
      cover.clear();
      size_t covered = 0;
      for (size_t offset = 0; offset < text.size();) {
        const DecodedCodePoint code_point = DecodeCodePoint(text, offset);
        const size_t end = offset + code_point.length;
        if (matches_(code_point.value)) {
          if (covered < offset) cover.push_back({covered, offset, false});
          cover.push_back({offset, end, true});
          covered = end;
        }
        offset = end;
      }
      if (covered < text.size()) cover.push_back({covered, text.size(), false});
      ApplySplitBehavior(behavior_, cover);
      AppendParts(word, word.begin, cover, words);
    }
    list.words = std::move(words);
  }

 private:
  Matches matches_;
  SplitBehavior behavior_;
};

// Matches `\w+|[^\w\s]+` of Rust's regex crate. It is written out because Oniguruma's \w is another
// set.
class Whitespace : public PreTokenizer {
 public:
  void PreTokenize(WordList& list) const override {
    enum class Kind { kNone, kWord, kSpace, kOther };
    std::vector<WordRange> words;
    for (const WordRange& word : list.words) {
      const std::string_view text = list.Word(word);
      Kind previous = Kind::kNone;
      for (size_t offset = 0; offset < text.size();) {
        const DecodedCodePoint code_point = DecodeCodePoint(text, offset);
        const Kind kind = IsWordCharacter(code_point.value) ? Kind::kWord
                          : IsWhitespace(code_point.value)  ? Kind::kSpace
                                                            : Kind::kOther;
        const size_t begin = word.begin + offset;
        offset += code_point.length;
        if (kind == previous && kind != Kind::kSpace) {
          words.back().end = word.begin + offset;
        } else if (kind != Kind::kSpace) {
          words.push_back({begin, word.begin + offset, word.starts_input && begin == word.begin});
        }
        previous = kind;
      }
    }
    list.words = std::move(words);
  }
};

// Cuts as GPT-2 does: puts a space before the text where the options say so, splits at the pattern
// of its encoder.py, and then writes bytes as characters.
class ByteLevel : public PreTokenizer {
 public:
  ByteLevel(bool adds_prefix_space, bool uses_pattern, const std::string& where)
      : adds_prefix_space_(adds_prefix_space),
        uses_pattern_(uses_pattern),
        pattern_(Pattern::Regex(
            R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)",
            where)) {}

  void PreTokenize(WordList& list) const override {
    WordList mapped;
    mapped.text.reserve(list.text.size() + list.text.size() / 4);
    std::string prefixed;
    std::vector<CoverPart> cover;
    for (const WordRange& word : list.words) {
      std::string_view text = list.Word(word);
      if (adds_prefix_space_ && !text.starts_with(' ')) {
        prefixed.assign(1, ' ').append(text);
        text = prefixed;
      }
      cover.clear();
      if (uses_pattern_) {
        pattern_.AppendCover(text, cover);
      } else {
        cover.push_back({0, text.size(), true});
      }
      for (const CoverPart& part : cover) {
        const size_t begin = mapped.text.size();
        AppendByteCharacters(text.substr(part.begin, part.end - part.begin), mapped.text);
        if (mapped.text.size() == begin) continue;
        mapped.words.push_back({begin, mapped.text.size(), word.starts_input && part.begin == 0});
      }
    }
    list = std::move(mapped);
  }

 private:
  bool adds_prefix_space_;
  bool uses_pattern_;
  Pattern pattern_;
};

// Treats spaces as SentencePiece does: a visible mark takes their place, and often there is one
// before the text.
class MetaspaceSplit : public PreTokenizer {
 public:
  explicit MetaspaceSplit(const MetaspaceOptions& options)
      : options_(options), mark_pattern_(Pattern::Literal(options.mark)) {}

  void PreTokenize(WordList& list) const override {
    WordList marked;
    marked.text.reserve(list.text.size() + list.text.size() / 2);
    std::vector<CoverPart> cover;
    for (const WordRange& word : list.words) {
      const size_t begin = marked.text.size();
      const std::string_view text = list.Word(word);
      if (NeedsMark(word, text)) marked.text.append(options_.mark);
      for (const char byte : text) {
        if (byte == ' ') {
          marked.text.append(options_.mark);
        } else {
          marked.text.push_back(byte);
        }
      }
      if (options_.splits) {
        cover.clear();
        mark_pattern_.AppendCover(std::string_view(marked.text).substr(begin), cover);
        ApplySplitBehavior(SplitBehavior::kMergedWithNext, cover);
        AppendParts(word, begin, cover, marked.words);
      } else {
        marked.words.push_back({begin, marked.text.size(), word.starts_input});
      }
    }
    list = std::move(marked);
  }

 private:
  bool NeedsMark(const WordRange& word, std::string_view text) const {
    if (options_.prepend_scheme == PrependScheme::kNever) return false;
    if (options_.prepend_scheme == PrependScheme::kFirst && !word.starts_input) return false;
    return !text.starts_with(' ') && !text.starts_with(options_.mark);
  }

  MetaspaceOptions options_;
  Pattern mark_pattern_;
};

std::unique_ptr<PreTokenizer> MakeSequence(JsonFields& fields) {
  std::vector<std::unique_ptr<PreTokenizer>> steps;
  for (JsonFields& step : fields.Objects("pretokenizers"))
    steps.push_back(MakePreTokenizer(std::move(step)));
  return std::make_unique<Sequence>(std::move(steps));
}

std::unique_ptr<PreTokenizer> MakeByteLevel(JsonFields& fields) {
  fields.Ignore("trim_offsets");  // it moves offsets, and changes no ids
  const bool adds_prefix_space = fields.Bool("add_prefix_space");
  return std::make_unique<ByteLevel>(adds_prefix_space, BoolOr(fields, "use_regex", true),
                                     fields.where());
}

std::unique_ptr<PreTokenizer> MakeByType(const std::string& type, JsonFields& fields) {
  if (type == "Sequence") return MakeSequence(fields);
  if (type == "ByteLevel") return MakeByteLevel(fields);
  if (type == "Metaspace") return std::make_unique<MetaspaceSplit>(ReadMetaspaceOptions(fields));
  if (type == "Split") {
    Pattern pattern = Pattern::FromJson(fields.Object("pattern"));
    const SplitBehavior behavior = ReadSplitBehavior(fields, "behavior");
    return std::make_unique<Split>(std::move(pattern), behavior, fields.Bool("invert"));
  }
  if (type == "CharDelimiterSplit") {
    std::string delimiter;
    AppendUtf8(Character(fields, "delimiter"), delimiter);
    return std::make_unique<Split>(Pattern::Literal(std::move(delimiter)), SplitBehavior::kRemoved,
                                   false);
  }
  if (type == "Digits") {
    const bool is_individual = fields.Bool("individual_digits");
    return std::make_unique<CharacterSplit>(
        &IsNumeric, is_individual ? SplitBehavior::kIsolated : SplitBehavior::kContiguous);
  }
  if (type == "Punctuation") {
    const bool is_default = !fields.Has("behavior");
    return std::make_unique<CharacterSplit>(
        &IsPunctuation,
        is_default ? SplitBehavior::kIsolated : ReadSplitBehavior(fields, "behavior"));
  }
  if (type == "Whitespace") return std::make_unique<Whitespace>();
  if (type == "WhitespaceSplit")
    return std::make_unique<CharacterSplit>(&IsWhitespace, SplitBehavior::kRemoved);
  FailUnknownType(fields, type,
                  {"ByteLevel", "CharDelimiterSplit", "Digits", "Metaspace", "Punctuation",
                   "Sequence", "Split", "Whitespace", "WhitespaceSplit"});
}

}  // namespace

std::unique_ptr<PreTokenizer> MakePreTokenizer(JsonFields fields) {
  const std::string type = fields.String("type");
  std::unique_ptr<PreTokenizer> pre_tokenizer = MakeByType(type, fields);
  fields.RequireNoOthers();
  return pre_tokenizer;
}

}  // namespace kvtune::tokenizer
