#include "lib/tokenizer/pattern.h"

#include <utility>

#include "lib/base/error.h"
#include "lib/base/regex.h"
#include "lib/tokenizer/unicode.h"
#include "lib/tokenizer/widened_pattern.h"

namespace kvtune::tokenizer {

Pattern::Pattern() = default;
Pattern::Pattern(Pattern&&) noexcept = default;
Pattern& Pattern::operator=(Pattern&&) noexcept = default;
Pattern::~Pattern() = default;

Pattern Pattern::Regex(const std::string& expression, const std::string& where) {
  Pattern pattern;
  pattern.regex_ = std::make_unique<kvtune::Regex>(WidenProperties(expression),
                                                   RegexSyntax::kOniguruma, where, expression);
  return pattern;
}

Pattern Pattern::Literal(std::string text) {
  Pattern pattern;
  pattern.literal_ = std::move(text);
  return pattern;
}

Pattern Pattern::FromJson(JsonFields fields) {
  if (fields.Has("Regex")) {
    const std::string expression = fields.String("Regex");
    fields.RequireNoOthers();
    return Regex(expression, fields.where());
  }
  std::string literal = fields.String("String");
  fields.RequireNoOthers();
  if (literal.empty())
    fields.Fail("String", "found an empty text, expected at least one character");
  return Literal(std::move(literal));
}

void Pattern::AppendCover(std::string_view text, std::vector<CoverPart>& cover) const {
  if (regex_ != nullptr) {
    AppendRegexCover(text, cover);
  } else {
    AppendLiteralCover(text, cover);
  }
}

// The iteration rule is that of rust-onig's FindMatches (onig/src/find.rs): an empty match right
// behind the previous match does not count, and the search goes on one character later.
void Pattern::AppendRegexCover(std::string_view text, std::vector<CoverPart>& cover) const {
  if (text.empty()) return;
  size_t covered = 0;   // everything before this is in the cover
  size_t position = 0;  // where the next search starts
  bool has_match = false;
  while (position <= text.size()) {
    const auto match =
        regex_->Search(text, position, "matching a regular expression of the tokenizer");
    if (!match) break;
    if (match->begin == match->end && has_match && match->end == covered) {
      position += position < text.size() ? DecodeCodePoint(text, position).length : 1;
      continue;
    }
    if (covered != match->begin) cover.push_back({covered, match->begin, false});
    cover.push_back({match->begin, match->end, true});
    covered = position = match->end;
    has_match = true;
  }
  if (covered != text.size()) cover.push_back({covered, text.size(), false});
}

void Pattern::AppendLiteralCover(std::string_view text, std::vector<CoverPart>& cover) const {
  size_t covered = 0;
  for (size_t found = text.find(literal_); found != std::string_view::npos;
       found = text.find(literal_, covered)) {
    if (covered != found) cover.push_back({covered, found, false});
    covered = found + literal_.size();
    cover.push_back({found, covered, true});
  }
  if (covered != text.size()) cover.push_back({covered, text.size(), false});
}

std::string Pattern::Replace(std::string_view text, std::string_view content) const {
  std::vector<CoverPart> cover;
  AppendCover(text, cover);
  std::string replaced;
  replaced.reserve(text.size());
  for (const CoverPart& part : cover) {
    replaced.append(part.is_match ? content : text.substr(part.begin, part.end - part.begin));
  }
  return replaced;
}

}  // namespace kvtune::tokenizer
