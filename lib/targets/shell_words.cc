#include "lib/targets/shell_words.h"

#include <algorithm>
#include <optional>
#include <utility>

namespace kvtune {
namespace {

bool IsBlank(char c) { return c == ' ' || c == '\t' || c == '\r'; }
bool EndsWord(char c) {
  return IsBlank(c) || std::string_view("\n;&|()<>").find(c) != std::string_view::npos;
}
bool IsNumber(std::string_view word) {
  return !word.empty() && word.find_first_not_of("0123456789") == std::string_view::npos;
}

// Splits a text in one pass over it.
class Splitter {
 public:
  explicit Splitter(std::string_view text) : text_(text) {}

  ShellText Split() {
    while (!AtEnd()) Step();
    EndCommand();
    return std::move(result_);
  }

 private:
  bool AtEnd() const { return at_ >= text_.size(); }
  char Next() const { return text_[at_]; }
  bool Follows(std::string_view what) const { return text_.substr(at_).starts_with(what); }

  void Step() {
    const char c = Next();
    if (SkipContinuation()) return;
    if (IsBlank(c)) {
      EndWord();
      ++at_;
    } else if (c == '#' && !word_) {
      at_ = std::min(text_.find('\n', at_), text_.size());
    } else if (c == '<' || c == '>' || Follows("&>")) {
      Redirect();
    } else if (EndsWord(c)) {
      EndCommand();
      ++at_;
    } else {
      AddToWord();
    }
  }

  // Skips a backslash at the end of a line, together with the line's end.
  bool SkipContinuation() {
    for (const std::string_view continuation : {"\\\n", "\\\r\n"}) {
      if (!Follows(continuation)) continue;
      at_ += continuation.size();
      return true;
    }
    return false;
  }

  // Leaves out a redirection ("2>", ">>", "<<<", ">&", "&>"): the operator, the next word, and a
  // number directly before it.
  void Redirect() {
    if (word_ && is_plain_ && IsNumber(*word_)) word_.reset();
    EndWord();
    while (!AtEnd() && std::string_view("<>&|").find(Next()) != std::string_view::npos) ++at_;
    drops_word_ = true;
  }

  void AddToWord() {
    const char c = Next();
    if (!word_) {
      word_ = "";
      is_plain_ = true;
    }
    if (c == '\'' || c == '"' || c == '\\') is_plain_ = false;
    if (c == '\'') {
      AddSingleQuoted();
    } else if (c == '"') {
      AddDoubleQuoted();
    } else if (c == '\\') {
      AddEscaped();
    } else if (Follows("$(")) {
      AddSubstitution();
    } else if (c == '`') {
      AddUntil('`');
    } else {
      *word_ += c;
      ++at_;
    }
  }

  void AddSingleQuoted() {
    ++at_;
    const size_t end = text_.find('\'', at_);
    *word_ += text_.substr(at_, end - at_);
    if (end == std::string_view::npos) return Miss("a closing quote");
    at_ = end + 1;
  }

  void AddDoubleQuoted() {
    ++at_;
    while (!AtEnd() && Next() != '"') {
      if (SkipContinuation()) continue;
      // Between double quotes a backslash escapes these four characters only; before any other it
      // stands for itself.
      if (Next() == '\\' && at_ + 1 < text_.size() &&
          std::string_view("$`\"\\").find(text_[at_ + 1]) != std::string_view::npos) {
        ++at_;
      }
      *word_ += Next();
      ++at_;
    }
    if (AtEnd()) return Miss("a closing quote");
    ++at_;
  }

  void AddEscaped() {
    ++at_;
    if (AtEnd()) return Miss("a character behind the last backslash");
    *word_ += Next();
    ++at_;
  }

  // Adds "$(...)" to the word as it is written.
  void AddSubstitution() {
    int depth = 0;
    while (!AtEnd()) {
      const char c = Next();
      *word_ += c;
      ++at_;
      if (c == '(') ++depth;
      if (c == ')' && --depth == 0) return;
    }
    Miss("a closing parenthesis");
  }

  void AddUntil(char end) {
    const size_t found = text_.find(end, at_ + 1);
    *word_ += text_.substr(at_, found == std::string_view::npos ? found : found + 1 - at_);
    if (found == std::string_view::npos) return Miss("a closing quote");
    at_ = found + 1;
  }

  void Miss(std::string what) {
    if (result_.missing.empty()) result_.missing = std::move(what);
    at_ = text_.size();
  }

  void EndWord() {
    if (!word_) return;
    if (!std::exchange(drops_word_, false)) command_.push_back(std::move(*word_));
    word_.reset();
  }

  void EndCommand() {
    EndWord();
    drops_word_ = false;
    if (!command_.empty()) result_.commands.push_back(std::exchange(command_, {}));
  }

  std::string_view text_;
  size_t at_ = 0;
  std::optional<std::string> word_;  // the word being read; "" for an empty quoted one
  bool is_plain_ = true;             // whether no part of it was quoted
  bool drops_word_ = false;          // whether it is the file of a redirection
  std::vector<std::string> command_;
  ShellText result_;
};

}  // namespace

ShellText SplitShell(std::string_view text) { return Splitter(text).Split(); }

}  // namespace kvtune
