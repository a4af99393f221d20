// The pattern that Split and Replace look for, which is a literal text or a regular expression.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "lib/base/json_fields.h"

namespace kvtune {
class Regex;
}

namespace kvtune::tokenizer {

// One stretch of a text. A cover is a list of stretches that reaches from the first byte to the
// last without gaps.
struct CoverPart {
  size_t begin;
  size_t end;
  bool is_match;
};

// Regular expressions go through Oniguruma with its default syntax and UTF-8, as in Hugging Face's
// `tokenizers` (src/utils/onig.rs), because the published patterns rely on its possessive
// quantifiers, look-ahead and \p{...}. Matching is const and thread-safe.
class Pattern {
 public:
  // Throws Error, which names `where`, when `expression` does not compile.
  static Pattern Regex(const std::string& expression, const std::string& where);
  // REQUIRES: `text` is not empty.
  static Pattern Literal(std::string text);
  // Reads {"String": "..."} or {"Regex": "..."}. Throws Error for anything else.
  static Pattern FromJson(JsonFields fields);

  Pattern(Pattern&&) noexcept;
  Pattern& operator=(Pattern&&) noexcept;
  ~Pattern();

  // Appends to `cover` every match, from left to right and without overlap, and what lies between
  // the matches. Empty matches are listed too. Throws Error when the engine gives up at its limit
  // of backtracking.
  void AppendCover(std::string_view text, std::vector<CoverPart>& cover) const;

  // Returns `text` with every match replaced by `content`.
  std::string Replace(std::string_view text, std::string_view content) const;

 private:
  Pattern();

  void AppendRegexCover(std::string_view text, std::vector<CoverPart>& cover) const;
  void AppendLiteralCover(std::string_view text, std::vector<CoverPart>& cover) const;

  std::unique_ptr<kvtune::Regex> regex_;  // null when the pattern is a literal text
  std::string literal_;
};

}  // namespace kvtune::tokenizer
