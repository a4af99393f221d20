#include "lib/tokenizer/widened_pattern.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <cstdint>
#include <optional>
#include <vector>

#include "lib/tokenizer/unicode_versions.h"

namespace kvtune::tokenizer {
namespace {

// What a property holds beyond that of the older Oniguruma: the recent code points of these
// categories, and some more code points as members of a class.
struct Property {
  std::string_view name;                     // small letters, without separators
  std::vector<std::string_view> categories;  // "" for all
  std::string_view more = {};
  bool is_narrowed = false;    // the property has lost these code points
  std::string_view lost = {};  // what it has lost beside what it has gained
};

constexpr std::string_view kAlphabeticToo =
    R"(\x{363}-\x{36F}\x{897}\x{C04}\x{CF3}\x{F82}\x{F83}\x{1DD3}-\x{1DE6}\x{10D69}\x{10EFC})"
    R"(\x{11080}\x{11081}\x{11241}\x{113B8}-\x{113C0}\x{113C2}\x{113C5}\x{113C7}-\x{113CA})"
    R"(\x{113CC}\x{113CD}\x{11F00}\x{11F01}\x{11F03}\x{11F34}-\x{11F3A}\x{11F3E}-\x{11F40})"
    R"(\x{1611E}-\x{1612E}\x{1E08F})";
constexpr std::string_view kLowerToo = R"(\x{10FC}\x{A7F2}-\x{A7F4}\x{AB69}\x{1E030}-\x{1E06D})";
constexpr std::string_view kNoLongerNonspacing = R"(\x{1171E})";
constexpr std::string_view kHanToo = R"(\x{2B739}\x{2EBF0}-\x{2EE5D}\x{31350}-\x{323AF})";

// Found by asking `tokenizers` 0.23.1 (Replace with the property) and Oniguruma 6.9.8 for every
// code point; scripts/oracles/pattern_parity.py shows whether it still holds.
const std::vector<Property>& Properties() {
  static const std::vector<Property> properties = {
      {"alpha", {"L", "Nl"}, kAlphabeticToo},
      {"alphabetic", {"L", "Nl"}, kAlphabeticToo},
      {"alnum", {"L", "Nl", "Nd"}, kAlphabeticToo},
      {"lower", {"Ll"}, kLowerToo},
      {"lowercase", {"Ll"}, kLowerToo},
      {"upper", {"Lu"}},
      {"uppercase", {"Lu"}},
      {"cased", {"Ll", "Lu"}, kLowerToo},
      {"digit", {"Nd"}},
      // \p{Word} has also gained Latin-1's superscripts and fractions, which [[:word:]] has not.
      {"word", {"L", "M", "Nd", "Pc"}, R"(\x{B2}\x{B3}\x{B9}\x{BC}-\x{BE})"},
      {"graph", {""}},
      {"print", {""}},
      {"assigned", {""}},
      {"punct", {"P"}},
      {"letter", {"L"}},
      {"casedletter", {"Ll", "Lu", "Lt"}},
      {"lc", {"Ll", "Lu", "Lt"}},
      {"uppercaseletter", {"Lu"}},
      {"lowercaseletter", {"Ll"}},
      {"modifierletter", {"Lm"}},
      {"otherletter", {"Lo"}},
      {"mark", {"M"}},
      {"combiningmark", {"M"}},
      {"mn", {"Mn"}, "", false, kNoLongerNonspacing},
      {"nonspacingmark", {"Mn"}, "", false, kNoLongerNonspacing},
      {"spacingmark", {"Mc"}},
      {"number", {"N"}},
      {"decimalnumber", {"Nd"}},
      {"othernumber", {"No"}},
      {"punctuation", {"P"}},
      {"dashpunctuation", {"Pd"}},
      {"otherpunctuation", {"Po"}},
      {"symbol", {"S"}},
      {"mathsymbol", {"Sm"}},
      {"othersymbol", {"So"}},
      {"format", {"Cf"}},
      {"c", {"L", "M", "N", "P", "S"}, "", true},
      {"other", {"L", "M", "N", "P", "S"}, "", true},
      {"cn", {""}, "", true},
      {"unassigned", {""}, "", true},
      {"idstart", {"L"}},
      {"xidstart", {"L"}},
      {"emoji",
       {},
       R"(\x{1F6DC}\x{1FA75}-\x{1FA77}\x{1FA87}-\x{1FA89}\x{1FA8F}\x{1FAAD}-\x{1FAAF})"
       R"(\x{1FABB}-\x{1FABF}\x{1FAC6}\x{1FACE}\x{1FACF}\x{1FADA}-\x{1FADC}\x{1FADF})"
       R"(\x{1FAE8}\x{1FAE9}\x{1FAF7}\x{1FAF8})"},
      {"han", {}, kHanToo},
      {"unifiedideograph", {}, kHanToo},
      {"latin", {}, R"(\x{A7CB}-\x{A7CD}\x{A7DA}-\x{A7DC}\x{1DF25}-\x{1DF2A})"},
      {"cyrillic", {}, R"(\x{1C89}\x{1C8A}\x{1E030}-\x{1E06D}\x{1E08F})"},
      {"arabic", {}, R"(\x{897}\x{10EC2}-\x{10EC4}\x{10EFC}-\x{10EFF})"},
      {"devanagari", {}, R"(\x{11B00}-\x{11B09})"},
      {"kannada", {}, R"(\x{CF3})"},
      {"lao", {}, R"(\x{ECE})"},
      {"myanmar", {}, R"(\x{116D0}-\x{116E3})"},
      {"hiragana", {}, R"(\x{1B132})"},
      {"katakana", {}, R"(\x{1B155})"},
      {"balinese", {}, R"(\x{1B4E}\x{1B4F}\x{1B7F})"},
      {"khojki", {}, R"(\x{1123F}-\x{11241})"},
  };
  return properties;
}

std::string Normalized(std::string_view name) {
  std::string normalized;
  for (const char c : name) {
    if (c == ' ' || c == '_' || c == '-') continue;
    normalized += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  }
  return normalized;
}

// A category (Lu) or a group of them (L) as itself, any other property from the table.
std::optional<Property> Find(std::string_view name) {
  const std::string wanted = Normalized(name);
  for (const Property& property : Properties()) {
    if (property.name == wanted) return property;
  }
  if (wanted.empty() || wanted.size() > 2) return std::nullopt;
  for (const std::string_view category : kCategories) {
    if (Normalized(category.substr(0, wanted.size())) == wanted) {
      return Property{"", {category.substr(0, wanted.size())}};
    }
  }
  return std::nullopt;
}

std::string MembersOf(const Property& property) {
  std::string members(property.more);
  for (const std::string_view category : property.categories) {
    AppendRecentRanges(category, members);
  }
  return members;
}

// A class of its own, which Oniguruma also accepts inside of a class.
void AppendClass(std::string_view escape, bool is_negated, const Property& property,
                 std::string& expression) {
  const std::string members = MembersOf(property);
  const std::string lost = property.is_narrowed ? members : std::string(property.lost);
  expression.append(is_negated ? "[^" : "[").append(escape);
  if (!property.is_narrowed) expression.append(members);
  if (!lost.empty()) expression.append(fmt::format("&&[^{}]", lost));
  expression.push_back(']');
}

class Widener {
 public:
  explicit Widener(std::string_view expression) : rest_(expression) {}

  std::string Run() {
    while (!rest_.empty()) {
      if (rest_[0] == '\\' && rest_.size() > 1) {
        TakeEscape();
      } else if (depth_ > 0 && rest_.starts_with("[:") && TakePosixClass()) {
        continue;
      } else if (rest_[0] == '[') {
        OpenClass();
      } else {
        if (rest_[0] == ']' && depth_ > 0) --depth_;
        Copy(1);
      }
    }
    return std::move(widened_);
  }

 private:
  void Copy(size_t count) {
    widened_.append(rest_.substr(0, count));
    rest_.remove_prefix(std::min(count, rest_.size()));
  }

  // A ']' right behind the beginning of a class is one of its members.
  void OpenClass() {
    ++depth_;
    Copy(1);
    if (rest_.starts_with('^')) Copy(1);
    if (rest_.starts_with(']')) Copy(1);
  }

  void TakeEscape() {
    const char kind = rest_[1];
    if (kind == 'd' || kind == 'D') {
      AppendClass("\\d", kind == 'D', *Find("digit"), widened_);
      rest_.remove_prefix(2);
    } else if (kind == 'w' || kind == 'W') {
      TakeWord(kind == 'W');
    } else if (kind != 'p' && kind != 'P') {
      Copy(2);
    } else {
      TakeProperty(kind == 'P');
    }
  }

  // Oniguruma's \w has other members inside of a class than outside, so it stays outside.
  void TakeWord(bool is_negated) {
    std::string members;
    for (const char* category : {"L", "M", "Nd", "Pc"}) AppendRecentRanges(category, members);
    if (depth_ > 0) {
      widened_ += fmt::format("[{}\\w{}]", is_negated ? "^" : "", members);
    } else {
      widened_ += is_negated ? fmt::format("(?:(?![{}])\\W)", members)
                             : fmt::format("(?:\\w|[{}])", members);
    }
    rest_.remove_prefix(2);
  }

  void TakeProperty(bool is_negated) {
    const size_t close = rest_.find('}');
    if (!rest_.substr(2).starts_with('{') || close == std::string_view::npos) return Copy(2);
    std::string_view name = rest_.substr(3, close - 3);
    if (name.starts_with('^')) {
      is_negated = !is_negated;
      name.remove_prefix(1);
    }
    const std::optional<Property> property = Find(name);
    if (!property) return Copy(close + 1);
    AppendClass(fmt::format("\\p{{{}}}", name), is_negated, *property, widened_);
    rest_.remove_prefix(close + 1);
  }

  // "[:alpha:]" or "[:^alpha:]". Returns whether it was one of a known property.
  bool TakePosixClass() {
    const size_t close = rest_.find(":]");
    if (close == std::string_view::npos) return false;
    std::string_view name = rest_.substr(2, close - 2);
    const bool is_negated = name.starts_with('^');
    if (is_negated) name.remove_prefix(1);
    std::optional<Property> property = Find(name);
    if (!property) {
      Copy(close + 2);
      return true;
    }
    std::string escape = fmt::format("[:{}:]", name);
    if (name == "punct") {  // symbols have become members of the class, but not of \p{Punct}
      property->categories = {"P", "S"};
      escape += "\\p{S}";
    } else if (name == "word") {  // without what \p{Word} has beyond it
      property->more = {};
    }
    AppendClass(escape, is_negated, *property, widened_);
    rest_.remove_prefix(close + 2);
    return true;
  }

  std::string_view rest_;
  std::string widened_;
  int depth_ = 0;  // of nested classes
};

}  // namespace

std::string WidenProperties(std::string_view expression) { return Widener(expression).Run(); }

}  // namespace kvtune::tokenizer
