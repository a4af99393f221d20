// Regular expressions from files of others, matched by Oniguruma within bounds.
//
// std::regex was rejected: it calls itself for every character, so that a long text or a deeply
// nested expression overflows the stack, and it backtracks without a limit.
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace kvtune {

// How an expression is written.
enum class RegexSyntax {
  kOniguruma,  // as Hugging Face's `tokenizers` compiles those of tokenizer.json
  kPython,     // as Python's `re`
};

// Texts and expressions are UTF-8. Matching is const and thread-safe.
class Regex {
 public:
  // Throws Error, which begins with `where`, for an expression that does not compile, is nested
  // too deeply or is longer than any that people write. `shown` is how the file spells it.
  Regex(const std::string& expression, RegexSyntax syntax, const std::string& where,
        std::string_view shown);
  ~Regex();
  Regex(const Regex&) = delete;
  Regex& operator=(const Regex&) = delete;

  struct Match {
    size_t begin = 0;
    size_t end = 0;
  };

  // The first match that begins at `from` or behind it. The text in front of `from` counts for
  // look-behind. Throws Error, which names `doing` and the position, when the engine gives up at
  // its limit of backtracking. REQUIRES: from <= text.size().
  std::optional<Match> Search(std::string_view text, size_t from, std::string_view doing) const;
  // The same with what the groups of the expression matched: the match itself is the first entry,
  // and a group that took no part has none. Empty where nothing matches.
  std::vector<std::optional<Match>> SearchGroups(std::string_view text, size_t from,
                                                 std::string_view doing) const;
  // Whether a match begins where the text begins. Throws Error as Search does.
  bool MatchesBeginning(std::string_view text, std::string_view doing) const;

 private:
  struct Compiled;
  std::unique_ptr<Compiled> compiled_;
};

}  // namespace kvtune
