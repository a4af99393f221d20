// Added tokens, such as <s>, <|im_start|> and runs of spaces: they are cut out of a text as a whole
// before any other stage sees it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <set>
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
  bool is_single_word;  // it counts only where no word character touches it
  bool strips_left;     // it takes the whitespace before it
  bool strips_right;    // it takes the whitespace behind it
  bool is_special;      // decoding may leave it out
  bool is_normalized;   // its normalized form is looked for in the normalized text
};

// Reads the "added_tokens" of `fields`. Hugging Face's `tokenizers` does not read the ids that the
// file gives them: a token gets its id in `vocabulary`, or else the next free id in the order of
// the file. Throws Error where the file's ids differ from these, and where an id or a content comes
// twice.
std::vector<AddedToken> ReadAddedTokens(JsonFields& fields, const Vocabulary& vocabulary);

// A part of a text is an added token, or what is left between two of them.
struct TextPart {
  static constexpr int32_t kText = -1;
  size_t begin;
  size_t end;
  int32_t id;  // kText, or the id of the added token
};

class AddedVocabulary {
 public:
  // `normalizer` may be null. Throws Error, which names `where`, when two tokens look the same in
  // normalized text.
  AddedVocabulary(std::vector<AddedToken> tokens, const Normalizer* normalizer,
                  const std::string& where);
  ~AddedVocabulary();

  // Cuts at the tokens that are looked for in raw text, and returns the parts in order. Of the
  // tokens that start leftmost the longest wins. This and all methods below are const and
  // thread-safe.
  std::vector<TextPart> SplitRaw(std::string_view text) const;
  // Cuts at the tokens that are looked for in normalized text.
  std::vector<TextPart> SplitNormalized(std::string_view text) const;

  // The text that a decoder gets for an added token, or null when `id` is not that of an added
  // token.
  const std::string* TokenOf(int32_t id) const;
  // Whether `id` is that of an added token that decoding may leave out.
  bool IsSpecial(int32_t id) const { return special_ids_.contains(id); }
  // The highest id + 1, or 0 when there are no added tokens.
  int32_t id_end() const;

 private:
  class Trie;

  std::vector<TextPart> Split(std::string_view text, const Trie& trie) const;

  std::vector<AddedToken> tokens_;
  std::map<int32_t, std::string> texts_by_id_;  // normalized if the token is
  std::set<int32_t> special_ids_;
  std::unique_ptr<Trie> raw_;
  std::unique_ptr<Trie> normalized_;
};

}  // namespace kvtune::tokenizer
