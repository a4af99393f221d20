// Tokens that are cut out of a text whole, before any other stage sees it: <s>, <|im_start|>, runs
// of spaces and the like.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "lib/base/json_fields.h"
#include "lib/tokenizer/normalizer.h"
#include "lib/tokenizer/vocabulary.h"

namespace kvtune::tokenizer {

struct AddedToken {
  int32_t id;
  std::string content;
  bool is_single_word;  // only where no word character touches it
  bool strips_left;     // takes the whitespace before it
  bool strips_right;    // takes the whitespace behind it
  bool is_normalized;   // is looked for in the normalized text, in its own normalized form
};

// Reads the "added_tokens" of `fields`. Their ids must be those that `tokenizers` gives them, which
// does not read the file's: the id in `vocabulary`, or else the next free one in file order. Throws
// Error where they differ, and where an id or a content comes twice.
std::vector<AddedToken> ReadAddedTokens(JsonFields& fields, const Vocabulary& vocabulary);

// A part of a text: an added token, or what is left between two.
struct TextPart {
  static constexpr int32_t kText = -1;
  size_t begin;
  size_t end;
  int32_t id;  // kText, or of the added token
};

class AddedVocabulary {
 public:
  // `normalizer` may be null. Throws Error naming `where` when two tokens look the same in
  // normalized text.
  AddedVocabulary(std::vector<AddedToken> tokens, const Normalizer* normalizer,
                  const std::string& where);
  ~AddedVocabulary();

  // Cuts at the tokens that are looked for in raw text. Parts are in order; the longest of the
  // tokens that start leftmost wins. Const and thread-safe, as all below.
  std::vector<TextPart> SplitRaw(std::string_view text) const;
  // Cuts at the tokens that are looked for in normalized text.
  std::vector<TextPart> SplitNormalized(std::string_view text) const;

  // What a decoder gets for an added token; null where `id` is none.
  const std::string* TokenOf(int32_t id) const;
  // Highest id + 1; 0 without added tokens.
  int32_t id_end() const;

 private:
  class Trie;

  std::vector<TextPart> Split(std::string_view text, const Trie& trie) const;

  std::vector<AddedToken> tokens_;
  std::map<int32_t, std::string> texts_by_id_;  // normalized where the token is
  std::unique_ptr<Trie> raw_;
  std::unique_ptr<Trie> normalized_;
};

}  // namespace kvtune::tokenizer
