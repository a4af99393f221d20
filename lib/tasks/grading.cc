#include "lib/tasks/grading.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <optional>

#include "lib/base/error.h"
#include "lib/base/regex.h"

namespace kvtune {
namespace {

constexpr std::string_view kAnswerMark = "#### ";

// The length in bytes of the whitespace that the text begins with, or 0. It is what Python's
// str.strip() removes.
size_t LeadingSpace(std::string_view text) {
  const auto byte = static_cast<unsigned char>(text.front());
  if (byte == ' ' || (byte >= '\t' && byte <= '\r') || (byte >= 0x1c && byte <= 0x1f)) return 1;
  static constexpr std::array<std::string_view, 4> kWide = {"\xc2\x85", "\xc2\xa0", "\xe1\x9a\x80",
                                                            "\xe3\x80\x80"};
  for (const std::string_view space : kWide) {
    if (text.starts_with(space)) return space.size();
  }
  // U+2000 to U+200A, U+2028, U+2029, U+202F and U+205F.
  if (text.size() >= 3 && text.starts_with("\xe2\x80")) {
    const auto last = static_cast<unsigned char>(text[2]);
    if (last <= 0x8a || last == 0xa8 || last == 0xa9 || last == 0xaf) return 3;
  }
  return text.starts_with("\xe2\x81\x9f") ? 3 : 0;
}

std::string_view Stripped(std::string_view text) {
  while (!text.empty()) {
    const size_t space = LeadingSpace(text);
    if (space == 0) break;
    text.remove_prefix(space);
  }
  // A character has at most three bytes here.
  for (bool found = true; found && !text.empty();) {
    found = false;
    for (size_t bytes = 1; bytes <= std::min<size_t>(3, text.size()) && !found; ++bytes) {
      const std::string_view tail = text.substr(text.size() - bytes);
      if (LeadingSpace(tail) != bytes) continue;
      text.remove_suffix(bytes);
      found = true;
    }
  }
  return text;
}

std::string Lower(std::string_view text) {
  std::string lower(text);
  for (char& c : lower) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return lower;
}

void Erase(std::string& text, char unwanted) { std::erase(text, unwanted); }

// vLLM reads a label by ast.literal_eval, which takes no leading zeros: "007" is no number of
// Python's. Nor does Python read digits other than ASCII's.
std::optional<std::string> PythonInteger(std::string_view digits) {
  const auto is_digit = [](char c) { return c >= '0' && c <= '9'; };
  if (digits.empty() || !std::ranges::all_of(digits, is_digit)) return std::nullopt;
  if (std::ranges::all_of(digits, [](char c) { return c == '0'; })) return "0";
  if (digits.front() == '0') return std::nullopt;
  return std::string(digits);
}

// RULER turns control characters into line breaks.
std::string RulerText(std::string_view text) {
  std::string clean(Stripped(text));
  for (char& c : clean) {
    if (static_cast<unsigned char>(c) < 0x20) c = '\n';
  }
  return std::string(Stripped(clean));
}

double ContainedShare(const TaskItem& item, ReferenceRule rule, std::string_view text) {
  const std::string lower = Lower(text);
  size_t contained = 0;
  for (const std::string& reference : item.references) {
    contained += lower.find(Lower(reference)) != std::string::npos;
  }
  if (rule == ReferenceRule::kAny) return contained > 0 ? 1 : 0;
  return static_cast<double>(contained) / static_cast<double>(item.references.size());
}

// One extraction, compiled.
class AnswerFinder {
 public:
  AnswerFinder(const Extraction& extraction, const std::string& where)
      : regex_(extraction.pattern, RegexSyntax::kPython, where, extraction.pattern),
        which_(extraction.which) {}

  // Returns nullopt where nothing matches.
  std::optional<std::string> Find(std::string_view text) const {
    std::optional<std::string> answer;
    for (size_t from = 0; from <= text.size();) {
      const auto groups = regex_.SearchGroups(text, from, "looking for an answer");
      if (groups.empty()) break;
      answer = AnswerOf(groups, text);
      if (which_ == WhichMatch::kFirst) break;
      from = NextStart(*groups.front(), text);
    }
    return answer;
  }

 private:
  static std::string AnswerOf(const std::vector<std::optional<Regex::Match>>& groups,
                              std::string_view text) {
    const auto matched = [&](const Regex::Match& match) {
      return std::string(Stripped(text.substr(match.begin, match.end - match.begin)));
    };
    if (groups.size() == 1) return matched(*groups[0]);
    for (size_t i = 1; i < groups.size(); ++i) {
      if (groups[i] && groups[i]->end > groups[i]->begin) return matched(*groups[i]);
    }
    // re.findall gives the empty text for one group, and the harness's fallback for several.
    return groups.size() == 2 ? "" : std::string(kInvalidAnswer);
  }

  // Matches do not overlap, and an empty one is followed by the next character.
  static size_t NextStart(const Regex::Match& match, std::string_view text) {
    if (match.end > match.begin) return match.end;
    size_t next = match.end + 1;
    while (next < text.size() && (static_cast<unsigned char>(text[next]) & 0xc0) == 0x80) ++next;
    return next;
  }

  Regex regex_;
  WhichMatch which_;
};

}  // namespace

std::string_view CutAtStops(std::string_view text, std::span<const std::string> stops) {
  for (const std::string& stop : stops) {
    if (!stop.empty()) text = text.substr(0, text.find(stop));
  }
  return text;
}

std::string NormalizedNumber(std::string_view answer) {
  std::string text(answer);
  Erase(text, ',');
  Erase(text, '$');
  if (const size_t mark = text.rfind(kAnswerMark); mark != std::string::npos)
    text.erase(0, mark + kAnswerMark.size());
  // In Python, $ is the end of the text and the place in front of a line break there.
  const size_t end = text.ends_with('\n') ? text.size() - 1 : text.size();
  if (end > 0 && text[end - 1] == '.') text.erase(end - 1, 1);
  return Lower(text);
}

struct Grader::Rules {
  std::optional<AnswerFinder> strict;
  std::optional<AnswerFinder> flexible;
};

Grader::Grader(const Task& task) : task_(task), rules_(std::make_unique<Rules>()) {
  const std::string where = fmt::format("task \"{}\": \"extract\"", task.name);
  if (task.strict) rules_->strict.emplace(*task.strict, where);
  if (task.flexible) rules_->flexible.emplace(*task.flexible, where);
  if (task.protocol == Protocol::kVllmCi) RequireLabels();
}

Grader::~Grader() = default;

std::optional<std::string> Grader::LabelOf(const TaskItem& item) const {
  std::string gold = item.answer;
  Erase(gold, ',');
  return PythonInteger(rules_->strict->Find(gold).value_or(""));
}

// vLLM's test asserts that every label is a number.
void Grader::RequireLabels() const {
  for (size_t i = 0; i < task_.items.size(); ++i) {
    if (LabelOf(task_.items[i])) continue;
    throw Error(
        fmt::format("task \"{}\", item {}: found the answer \"{}\", expected one with a number",
                    task_.name, i + 1, task_.items[i].answer));
  }
}

Grade Grader::Judge(const TaskItem& item, std::string_view generation,
                    std::span<const std::string> more_stops) const {
  Grade grade;
  grade.text = CutAtStops(CutAtStops(generation, task_.stops), more_stops);
  if (task_.protocol == Protocol::kContains) {
    grade.extracted = grade.flexible_extracted = RulerText(grade.text);
    grade.strict = grade.flexible = ContainedShare(item, task_.reference_rule, grade.extracted);
    return grade;
  }
  std::string text = grade.text;
  if (task_.protocol == Protocol::kVllmCi) Erase(text, ',');
  const auto extract = [&](const std::optional<AnswerFinder>& finder) {
    return finder ? finder->Find(text).value_or(std::string(kInvalidAnswer))
                  : std::string(Stripped(text));
  };
  grade.extracted = extract(rules_->strict);
  grade.flexible_extracted = extract(rules_->flexible);
  const auto verdict = [&](const std::string& extracted) -> double {
    switch (task_.protocol) {
      case Protocol::kGsm8k:
      case Protocol::kGsm8kCot:
        return NormalizedNumber(extracted) == NormalizedNumber(item.answer) ? 1 : 0;
      case Protocol::kVllmCi: {
        const std::optional<std::string> label = LabelOf(item);
        return label && PythonInteger(extracted) == label ? 1 : 0;
      }
      case Protocol::kCustom:
        return extracted == Stripped(item.answer) ? 1 : 0;
      case Protocol::kContains:
      case Protocol::kMultipleChoice:
        break;
    }
    return 0;
  };
  grade.strict = verdict(grade.extracted);
  grade.flexible = verdict(grade.flexible_extracted);
  if (task_.protocol == Protocol::kVllmCi && !PythonInteger(grade.extracted))
    grade.extracted = grade.flexible_extracted = kInvalidAnswer;
  return grade;
}

Grade JudgeChoices(const TaskItem& item, std::span<const double> log_likelihoods) {
  // Python's len counts characters and not bytes.
  const auto characters = [](const std::string& text) {
    return static_cast<double>(std::ranges::count_if(
        text, [](char c) { return (static_cast<unsigned char>(c) & 0xc0) != 0x80; }));
  };
  size_t best = 0, best_by_character = 0;
  const auto by_character = [&](size_t i) {
    return log_likelihoods[i] / characters(item.choices[i]);
  };
  for (size_t i = 1; i < log_likelihoods.size(); ++i) {
    if (log_likelihoods[i] > log_likelihoods[best]) best = i;
    if (by_character(i) > by_character(best_by_character)) best_by_character = i;
  }
  return {.text = item.choices[best],
          .extracted = item.choices[best],
          .flexible_extracted = item.choices[best_by_character],
          .strict = best == item.correct_choice ? 1.0 : 0.0,
          .flexible = best_by_character == item.correct_choice ? 1.0 : 0.0};
}

}  // namespace kvtune
