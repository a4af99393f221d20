#include "lib/tokenizer/added_vocabulary.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <optional>
#include <utility>

#include "lib/base/error.h"
#include "lib/tokenizer/unicode.h"

// The behaviour follows `tokenizers` 0.23 (tokenizers/src/tokenizer/added_vocabulary.rs).

namespace kvtune::tokenizer {

std::vector<AddedToken> ReadAddedTokens(JsonFields& fields, const Vocabulary& vocabulary) {
  std::vector<AddedToken> tokens;
  std::map<std::string, int32_t> ids;
  int32_t next_id = vocabulary.size();
  for (JsonFields& entry : fields.Objects("added_tokens")) {
    AddedToken token;
    token.content = entry.String("content");
    if (token.content.empty())
      entry.Fail("content", "found an empty text, expected at least one character");
    const int32_t vocabulary_id = vocabulary.IdOf(token.content);
    token.id = vocabulary_id != Vocabulary::kNone ? vocabulary_id : next_id++;
    if (const int64_t id = entry.Integer("id"); id != token.id) {
      entry.Fail(
          "id",
          fmt::format("found {}, expected {}: the id of \"{}\" {}", id, token.id, token.content,
                      vocabulary_id != Vocabulary::kNone ? "in the vocabulary"
                                                         : "as the next behind the vocabulary"));
    }
    if (!ids.emplace(token.content, token.id).second) {
      entry.Fail("content",
                 fmt::format("found \"{}\" a second time, expected it once", token.content));
    }
    token.is_single_word = entry.Bool("single_word");
    token.strips_left = entry.Bool("lstrip");
    token.strips_right = entry.Bool("rstrip");
    token.is_normalized = entry.Bool("normalized");
    entry.Ignore("special");
    token.is_special = entry.Has("special") && entry.Bool("special");
    entry.RequireNoOthers();
    tokens.push_back(std::move(token));
  }
  return tokens;
}

// Finds the longest of many patterns at a place, byte by byte.
class AddedVocabulary::Trie {
 public:
  Trie() : nodes_(1) {}

  // `value` is what Find will give. Returns false when `pattern` is already there.
  bool Insert(std::string_view pattern, size_t value) {
    starts_[static_cast<unsigned char>(pattern.front())] = true;
    size_t node = 0;
    for (const char byte : pattern) node = ChildOrNew(node, byte);
    if (nodes_[node].value) return false;
    nodes_[node].value = value;
    return true;
  }

  struct Found {
    size_t begin;
    size_t end;
    size_t value;
  };

  // Finds the leftmost match that starts at `begin` or later, and of several there the longest.
  std::optional<Found> Find(std::string_view text, size_t begin) const {
    for (; begin < text.size(); ++begin) {
      if (!starts_[static_cast<unsigned char>(text[begin])]) continue;
      std::optional<Found> longest;
      std::optional<size_t> node = 0;
      for (size_t end = begin; end < text.size();) {
        node = Child(*node, text[end]);
        if (!node) break;
        ++end;
        if (nodes_[*node].value) longest = Found{begin, end, *nodes_[*node].value};
      }
      if (longest) return longest;
    }
    return std::nullopt;
  }

 private:
  struct Node {
    std::vector<std::pair<char, size_t>> children;  // sorted by byte
    std::optional<size_t> value;
  };

  static auto LowerBound(const std::vector<std::pair<char, size_t>>& children, char byte) {
    return std::lower_bound(children.begin(), children.end(), byte,
                            [](const auto& child, char wanted) { return child.first < wanted; });
  }

  std::optional<size_t> Child(size_t node, char byte) const {
    const auto& children = nodes_[node].children;
    const auto found = LowerBound(children, byte);
    if (found == children.end() || found->first != byte) return std::nullopt;
    return found->second;
  }

  size_t ChildOrNew(size_t node, char byte) {
    if (const std::optional<size_t> child = Child(node, byte)) return *child;
    const size_t added = nodes_.size();
    nodes_[node].children.insert(LowerBound(nodes_[node].children, byte), {byte, added});
    nodes_.emplace_back();
    return added;
  }

  std::vector<Node> nodes_;
  std::array<bool, 256> starts_ =
      {};  // lets Find pass over most bytes without looking at the nodes
};

AddedVocabulary::AddedVocabulary(std::vector<AddedToken> tokens, const Normalizer* normalizer,
                                 const std::string& where)
    : tokens_(std::move(tokens)),
      raw_(std::make_unique<Trie>()),
      normalized_(std::make_unique<Trie>()) {
  for (size_t i = 0; i < tokens_.size(); ++i) {
    const AddedToken& token = tokens_[i];
    NormalizedText form{token.content, false};
    if (token.is_normalized && normalizer != nullptr) normalizer->Normalize(form);
    texts_by_id_[token.id] = form.text;
    if (token.is_special) special_ids_.insert(token.id);
    if (form.text.empty()) {
      throw Error(fmt::format(
          "{}: added_tokens[{}]: found \"{}\", which the normalizer makes empty, expected "
          "something to look for",
          where, i, token.content));
    }
    Trie& trie = token.is_normalized ? *normalized_ : *raw_;
    if (!trie.Insert(form.text, i)) {
      throw Error(fmt::format(
          "{}: added_tokens[{}]: found \"{}\", which looks like another added token once "
          "normalized, expected them to differ",
          where, i, token.content));
    }
  }
}

AddedVocabulary::~AddedVocabulary() = default;

std::vector<TextPart> AddedVocabulary::SplitRaw(std::string_view text) const {
  return Split(text, *raw_);
}

std::vector<TextPart> AddedVocabulary::SplitNormalized(std::string_view text) const {
  return Split(text, *normalized_);
}

// This is `find_matches` of added_vocabulary.rs. The search goes on behind the match itself, and
// not behind the whitespace that the match took, because a token that begins with whitespace may
// still be found there.
std::vector<TextPart> AddedVocabulary::Split(std::string_view text, const Trie& trie) const {
  std::vector<TextPart> parts;
  size_t covered = 0;
  size_t search_from = 0;
  while (const std::optional<Trie::Found> found = trie.Find(text, search_from)) {
    search_from = found->end;
    const AddedToken& token = tokens_[found->value];
    size_t begin = found->begin;
    size_t end = found->end;
    if (token.is_single_word) {
      const bool touches_left =
          begin > 0 && IsWordCharacter(DecodeCodePointBefore(text, begin).value);
      const bool touches_right =
          end < text.size() && IsWordCharacter(DecodeCodePoint(text, end).value);
      if (touches_left || touches_right) continue;
    }
    while (token.strips_left && begin > covered) {
      const DecodedCodePoint before = DecodeCodePointBefore(text, begin);
      if (!IsWhitespace(before.value)) break;
      begin -= before.length;
    }
    while (token.strips_right && end < text.size()) {
      const DecodedCodePoint behind = DecodeCodePoint(text, end);
      if (!IsWhitespace(behind.value)) break;
      end += behind.length;
    }
    if (covered < begin) parts.push_back({covered, begin, TextPart::kText});
    parts.push_back({begin, end, token.id});
    covered = end;
  }
  if (covered < text.size()) parts.push_back({covered, text.size(), TextPart::kText});
  return parts;
}

const std::string* AddedVocabulary::TokenOf(int32_t id) const {
  const auto found = texts_by_id_.find(id);
  return found == texts_by_id_.end() ? nullptr : &found->second;
}

int32_t AddedVocabulary::id_end() const {
  return texts_by_id_.empty() ? 0 : texts_by_id_.rbegin()->first + 1;
}

}  // namespace kvtune::tokenizer
