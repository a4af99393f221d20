#include "lib/base/regex.h"

#include <fmt/format.h>
#include <oniguruma.h>

#include <mutex>

#include "lib/base/error.h"

namespace kvtune {
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
    // Groups in groups; the parser calls itself for each. Published patterns nest about five deep.
    constexpr unsigned kDeepest = 250;
    onig_set_parse_depth_limit(kDeepest);
    // Steps back, about a second of them: over all places where a match may begin, and at one.
    constexpr unsigned long kMostStepsBack = 20'000'000;
    onig_set_retry_limit_in_search(kMostStepsBack);
    onig_set_retry_limit_in_match(kMostStepsBack / 2);
  });
}

// The positions of one match. A thread uses one for all its searches, so that they need not
// allocate.
class Region {
 public:
  ~Region() { onig_region_free(&region_, 0); }
  OnigRegion* get() { return &region_; }
  Regex::Match match(int group = 0) const {
    return {static_cast<size_t>(region_.beg[group]), static_cast<size_t>(region_.end[group])};
  }
  // The whole match counts as one.
  int groups() const { return region_.num_regs; }
  bool took_part(int group) const { return region_.beg[group] >= 0; }

 private:
  OnigRegion region_ = {};
};

OnigSyntaxType* SyntaxOf(RegexSyntax syntax) {
  return syntax == RegexSyntax::kPython ? ONIG_SYNTAX_PYTHON : ONIG_SYNTAX_DEFAULT;
}

[[noreturn]] void FailMatching(std::string_view doing, size_t from, int code) {
  throw Error(fmt::format("{} at byte {}: {}", doing, from, OnigMessage(code)));
}

}  // namespace

struct Regex::Compiled {
  ~Compiled() { onig_free(regex); }
  regex_t* regex = nullptr;
};

Regex::Regex(const std::string& expression, RegexSyntax syntax, const std::string& where,
             std::string_view shown)
    : compiled_(std::make_unique<Compiled>()) {
  InitializeOnce();
  const auto fail = [&](const std::string& reason) {
    constexpr size_t kMostShown = 100;
    throw Error(fmt::format(
        "{}: found the regular expression \"{}{}\", expected one that Oniguruma compiles: {}",
        where, shown.substr(0, kMostShown), shown.size() > kMostShown ? "..." : "", reason));
  };
  // Compiling takes more time than the length grows.
  constexpr size_t kLongest = 20'000;
  if (shown.size() > kLongest) fail(fmt::format("it has more than {} bytes", kLongest));
  OnigErrorInfo info = {};
  const char* begin = expression.data();
  const int code = onig_new(&compiled_->regex, Bytes(begin), Bytes(begin + expression.size()),
                            ONIG_OPTION_NONE, ONIG_ENCODING_UTF8, SyntaxOf(syntax), &info);
  if (code != ONIG_NORMAL) fail(OnigMessage(code, &info));
}

Regex::~Regex() = default;

namespace {

Region& ThreadRegion() {
  thread_local Region region;
  return region;
}

// Returns whether there is a match, whose groups are then in ThreadRegion().
bool SearchInto(regex_t* regex, std::string_view text, size_t from, std::string_view doing) {
  const OnigUChar* begin = Bytes(text.data());
  const OnigUChar* end = begin + text.size();
  const int found =
      onig_search(regex, begin, end, begin + from, end, ThreadRegion().get(), ONIG_OPTION_NONE);
  if (found < 0 && found != ONIG_MISMATCH) FailMatching(doing, from, found);
  return found >= 0;
}

}  // namespace

std::optional<Regex::Match> Regex::Search(std::string_view text, size_t from,
                                          std::string_view doing) const {
  if (!SearchInto(compiled_->regex, text, from, doing)) return std::nullopt;
  return ThreadRegion().match();
}

std::vector<std::optional<Regex::Match>> Regex::SearchGroups(std::string_view text, size_t from,
                                                             std::string_view doing) const {
  std::vector<std::optional<Match>> groups;
  if (!SearchInto(compiled_->regex, text, from, doing)) return groups;
  const Region& region = ThreadRegion();
  for (int i = 0; i < region.groups(); ++i) {
    groups.push_back(region.took_part(i) ? std::optional(region.match(i)) : std::nullopt);
  }
  return groups;
}

bool Regex::MatchesBeginning(std::string_view text, std::string_view doing) const {
  const OnigUChar* begin = Bytes(text.data());
  const int found =
      onig_match(compiled_->regex, begin, begin + text.size(), begin, nullptr, ONIG_OPTION_NONE);
  if (found < 0 && found != ONIG_MISMATCH) FailMatching(doing, 0, found);
  return found >= 0;
}

}  // namespace kvtune
