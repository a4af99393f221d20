// The second stage of a tokenizer: cuts a normalized text into words. No token crosses a word.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "lib/base/json_fields.h"

namespace kvtune::tokenizer {

struct WordRange {
  size_t begin;
  size_t end;         // end > begin
  bool starts_input;  // the word's first character came from the first character of the whole input
};

// One buffer with the ranges of its words, so that cutting and rewriting allocate per text and not
// per word. Words are in order and need not cover the buffer.
struct WordList {
  std::string text;
  std::vector<WordRange> words;

  std::string_view Word(const WordRange& word) const {
    return std::string_view(text).substr(word.begin, word.end - word.begin);
  }
};

class PreTokenizer {
 public:
  virtual ~PreTokenizer() = default;
  // Cuts every word of `list` into smaller ones, rewriting them where the component says so.
  // REQUIRES: valid UTF-8. Const and thread-safe.
  virtual void PreTokenize(WordList& list) const = 0;
};

// Builds the pre-tokenizer that `fields` describes. Throws Error naming an unknown type or option.
std::unique_ptr<PreTokenizer> MakePreTokenizer(JsonFields fields);

}  // namespace kvtune::tokenizer
