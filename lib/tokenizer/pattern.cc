#include "lib/tokenizer/pattern.h"

#include <fmt/format.h>
#include <oniguruma.h>

#include <mutex>
#include <utility>

#include "lib/base/error.h"
#include "lib/tokenizer/unicode.h"
#include "lib/tokenizer/unicode_versions.h"

namespace kvtune::tokenizer {
namespace {

const OnigUChar* Bytes(const char* text) { return reinterpret_cast<const OnigUChar*>(text); }

std::string OnigMessage(int code, OnigErrorInfo* info = nullptr) {
  OnigUChar buffer[ONIG_MAX_ERROR_MESSAGE_LEN];
  const int length = info != nullptr ? onig_error_code_to_str(buffer, code, info)
                                     : onig_error_code_to_str(buffer, code);
  return std::string(reinterpret_cast<const char*>(buffer), static_cast<size_t>(length));
}

// Oniguruma must be told once which encodings a program uses, before threads start matching.
void InitializeOnce() {
  static std::once_flag once;
  std::call_once(once, [] {
    OnigEncoding encodings[] = {ONIG_ENCODING_UTF8};
    onig_initialize(encodings, 1);
  });
}

// The positions of one match. Searches reuse it, so that they need not allocate.
class Region {
 public:
  Region() = default;
  ~Region() { onig_region_free(&region_, 0); }
  Region(const Region&) = delete;
  Region& operator=(const Region&) = delete;
  OnigRegion* get() { return &region_; }
  size_t begin() const { return static_cast<size_t>(region_.beg[0]); }
  size_t end() const { return static_cast<size_t>(region_.end[0]); }

 private:
  OnigRegion region_ = {};
};

}  // namespace

struct Pattern::Compiled {
  explicit Compiled(regex_t* compiled) : regex(compiled) {}
  ~Compiled() { onig_free(regex); }
  Compiled(const Compiled&) = delete;
  Compiled& operator=(const Compiled&) = delete;

  regex_t* regex;
};

Pattern::Pattern() = default;
Pattern::Pattern(Pattern&&) noexcept = default;
Pattern& Pattern::operator=(Pattern&&) noexcept = default;
Pattern::~Pattern() = default;

Pattern Pattern::Regex(const std::string& expression, const std::string& where) {
  InitializeOnce();
  regex_t* regex = nullptr;
  OnigErrorInfo info = {};
  const std::string widened = WidenCategories(expression);
  const char* begin = widened.data();
  const int code = onig_new(&regex, Bytes(begin), Bytes(begin + widened.size()), ONIG_OPTION_NONE,
                            ONIG_ENCODING_UTF8, ONIG_SYNTAX_DEFAULT, &info);
  if (code != ONIG_NORMAL) {
    throw Error(fmt::format(
        "{}: found the regular expression \"{}\", expected one that Oniguruma compiles: {}", where,
        expression, OnigMessage(code, &info)));
  }
  Pattern pattern;
  pattern.compiled_ = std::make_unique<Compiled>(regex);
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
  if (compiled_ != nullptr) {
    AppendRegexCover(text, cover);
  } else {
    AppendLiteralCover(text, cover);
  }
}

// The iteration rule is that of rust-onig's FindMatches (onig/src/find.rs): an empty match right
// behind the previous match does not count, and the search goes on one character later.
void Pattern::AppendRegexCover(std::string_view text, std::vector<CoverPart>& cover) const {
  if (text.empty()) return;
  const OnigUChar* begin = Bytes(text.data());
  const OnigUChar* end = begin + text.size();
  Region region;
  size_t covered = 0;   // everything before this is in the cover
  size_t position = 0;  // where the next search starts
  bool has_match = false;
  while (position <= text.size()) {
    const int found = onig_search(compiled_->regex, begin, end, begin + position, end, region.get(),
                                  ONIG_OPTION_NONE);
    if (found == ONIG_MISMATCH) break;
    if (found < 0) {
      throw Error(fmt::format("matching a regular expression of the tokenizer at byte {}: {}",
                              position, OnigMessage(found)));
    }
    if (region.begin() == region.end() && has_match && region.end() == covered) {
      position += position < text.size() ? DecodeCodePoint(text, position).length : 1;
      continue;
    }
    if (covered != region.begin()) cover.push_back({covered, region.begin(), false});
    cover.push_back({region.begin(), region.end(), true});
    covered = position = region.end();
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
