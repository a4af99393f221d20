// The second stage of a tokenizer: cuts a normalized text into words. No token reaches from one
// word into another.
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
  bool starts_input;  // its first character came from the first character of the whole input
};

// One buffer with the ranges of its words, so that cutting and rewriting allocate memory once for a
// text and not for each word. Words are in order and need not cover the buffer.
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
  // Cuts every word of `list` into smaller ones, and rewrites them where the component says so. It
  // is const and thread-safe. REQUIRES: valid UTF-8.
  virtual void PreTokenize(WordList& list) const = 0;
};

// Builds the pre-tokenizer that `fields` describes. Throws Error, which names the type or option,
// when one is unknown.
std::unique_ptr<PreTokenizer> MakePreTokenizer(JsonFields fields);

}  // namespace kvtune::tokenizer
