#include "lib/tokenizer/unicode_versions.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <iterator>

// Both tables were found by asking `tokenizers` 0.23.1 for every code point (Replace with a
// category, NFKD, NFD of "b", U+0345 and the code point) and comparing with Oniguruma 6.9.8 and
// utf8proc 2.8. `scripts/oracles/tokenizer_parity.py --all-code-points` shows whether they still
// hold.

namespace kvtune::tokenizer {
namespace {

struct CategoryRange {
  char32_t first;
  char32_t last;
  std::string_view category;
};

// Code points that were assigned in Unicode 15.0 to 16.0.
constexpr CategoryRange kRecentCategories[] = {
    {0x897, 0x897, "Mn"},     {0xCF3, 0xCF3, "Mc"},     {0xECE, 0xECE, "Mn"},
    {0x1B4E, 0x1B4F, "Po"},   {0x1B7F, 0x1B7F, "Po"},   {0x1C89, 0x1C89, "Lu"},
    {0x1C8A, 0x1C8A, "Ll"},   {0x2427, 0x2429, "So"},   {0x2FFC, 0x2FFF, "So"},
    {0x31E4, 0x31E5, "So"},   {0x31EF, 0x31EF, "So"},   {0xA7CB, 0xA7CC, "Lu"},
    {0xA7CD, 0xA7CD, "Ll"},   {0xA7DA, 0xA7DA, "Lu"},   {0xA7DB, 0xA7DB, "Ll"},
    {0xA7DC, 0xA7DC, "Lu"},   {0x105C0, 0x105F3, "Lo"}, {0x10D40, 0x10D49, "Nd"},
    {0x10D4A, 0x10D4D, "Lo"}, {0x10D4E, 0x10D4E, "Lm"}, {0x10D4F, 0x10D4F, "Lo"},
    {0x10D50, 0x10D65, "Lu"}, {0x10D69, 0x10D6D, "Mn"}, {0x10D6E, 0x10D6E, "Pd"},
    {0x10D6F, 0x10D6F, "Lm"}, {0x10D70, 0x10D85, "Ll"}, {0x10D8E, 0x10D8F, "Sm"},
    {0x10EC2, 0x10EC4, "Lo"}, {0x10EFC, 0x10EFF, "Mn"}, {0x1123F, 0x11240, "Lo"},
    {0x11241, 0x11241, "Mn"}, {0x11380, 0x11389, "Lo"}, {0x1138B, 0x1138B, "Lo"},
    {0x1138E, 0x1138E, "Lo"}, {0x11390, 0x113B5, "Lo"}, {0x113B7, 0x113B7, "Lo"},
    {0x113B8, 0x113BA, "Mc"}, {0x113BB, 0x113C0, "Mn"}, {0x113C2, 0x113C2, "Mc"},
    {0x113C5, 0x113C5, "Mc"}, {0x113C7, 0x113CA, "Mc"}, {0x113CC, 0x113CD, "Mc"},
    {0x113CE, 0x113CE, "Mn"}, {0x113CF, 0x113CF, "Mc"}, {0x113D0, 0x113D0, "Mn"},
    {0x113D1, 0x113D1, "Lo"}, {0x113D2, 0x113D2, "Mn"}, {0x113D3, 0x113D3, "Lo"},
    {0x113D4, 0x113D5, "Po"}, {0x113D7, 0x113D8, "Po"}, {0x113E1, 0x113E2, "Mn"},
    {0x116D0, 0x116E3, "Nd"}, {0x1171E, 0x1171E, "Mc"}, {0x11B00, 0x11B09, "Po"},
    {0x11BC0, 0x11BE0, "Lo"}, {0x11BE1, 0x11BE1, "Po"}, {0x11BF0, 0x11BF9, "Nd"},
    {0x11F00, 0x11F01, "Mn"}, {0x11F02, 0x11F02, "Lo"}, {0x11F03, 0x11F03, "Mc"},
    {0x11F04, 0x11F10, "Lo"}, {0x11F12, 0x11F33, "Lo"}, {0x11F34, 0x11F35, "Mc"},
    {0x11F36, 0x11F3A, "Mn"}, {0x11F3E, 0x11F3F, "Mc"}, {0x11F40, 0x11F40, "Mn"},
    {0x11F41, 0x11F41, "Mc"}, {0x11F42, 0x11F42, "Mn"}, {0x11F43, 0x11F4F, "Po"},
    {0x11F50, 0x11F59, "Nd"}, {0x11F5A, 0x11F5A, "Mn"}, {0x1342F, 0x1342F, "Lo"},
    {0x13440, 0x13440, "Mn"}, {0x13441, 0x13446, "Lo"}, {0x13447, 0x13455, "Mn"},
    {0x13460, 0x143FA, "Lo"}, {0x16100, 0x1611D, "Lo"}, {0x1611E, 0x16129, "Mn"},
    {0x1612A, 0x1612C, "Mc"}, {0x1612D, 0x1612F, "Mn"}, {0x16130, 0x16139, "Nd"},
    {0x16D40, 0x16D42, "Lm"}, {0x16D43, 0x16D6A, "Lo"}, {0x16D6B, 0x16D6C, "Lm"},
    {0x16D6D, 0x16D6F, "Po"}, {0x16D70, 0x16D79, "Nd"}, {0x18CFF, 0x18CFF, "Lo"},
    {0x1B132, 0x1B132, "Lo"}, {0x1B155, 0x1B155, "Lo"}, {0x1CC00, 0x1CCEF, "So"},
    {0x1CCF0, 0x1CCF9, "Nd"}, {0x1CD00, 0x1CEB3, "So"}, {0x1D2C0, 0x1D2D3, "No"},
    {0x1DF25, 0x1DF2A, "Ll"}, {0x1E030, 0x1E06D, "Lm"}, {0x1E08F, 0x1E08F, "Mn"},
    {0x1E4D0, 0x1E4EA, "Lo"}, {0x1E4EB, 0x1E4EB, "Lm"}, {0x1E4EC, 0x1E4EF, "Mn"},
    {0x1E4F0, 0x1E4F9, "Nd"}, {0x1E5D0, 0x1E5ED, "Lo"}, {0x1E5EE, 0x1E5EF, "Mn"},
    {0x1E5F0, 0x1E5F0, "Lo"}, {0x1E5F1, 0x1E5FA, "Nd"}, {0x1E5FF, 0x1E5FF, "Po"},
    {0x1F6DC, 0x1F6DC, "So"}, {0x1F774, 0x1F776, "So"}, {0x1F77B, 0x1F77F, "So"},
    {0x1F7D9, 0x1F7D9, "So"}, {0x1F8B2, 0x1F8BB, "So"}, {0x1F8C0, 0x1F8C1, "So"},
    {0x1FA75, 0x1FA77, "So"}, {0x1FA87, 0x1FA89, "So"}, {0x1FA8F, 0x1FA8F, "So"},
    {0x1FAAD, 0x1FAAF, "So"}, {0x1FABB, 0x1FABF, "So"}, {0x1FAC6, 0x1FAC6, "So"},
    {0x1FACE, 0x1FACF, "So"}, {0x1FADA, 0x1FADC, "So"}, {0x1FADF, 0x1FADF, "So"},
    {0x1FAE8, 0x1FAE9, "So"}, {0x1FAF7, 0x1FAF8, "So"}, {0x1FBCB, 0x1FBEF, "So"},
    {0x2B739, 0x2B739, "Lo"}, {0x2EBF0, 0x2EE5D, "Lo"}, {0x31350, 0x323AF, "Lo"},
};

struct Range {
  char32_t first;
  char32_t last;
};

// Combining marks and compatibility characters of Unicode 10.0 to 15.0.
constexpr Range kInertInNormalization[] = {
    {0x7FD, 0x7FD},     {0x898, 0x89F},     {0x8CA, 0x8D3},     {0x9FE, 0x9FE},
    {0xC3C, 0xC3C},     {0xD3B, 0xD3C},     {0xEBA, 0xEBA},     {0x1715, 0x1715},
    {0x1ABF, 0x1ACE},   {0x1DF6, 0x1DFA},   {0x32FF, 0x32FF},   {0xA7F2, 0xA7F4},
    {0xA82C, 0xA82C},   {0xAB69, 0xAB69},   {0x10781, 0x10785}, {0x10787, 0x107B0},
    {0x107B2, 0x107BA}, {0x10D24, 0x10D27}, {0x10EAB, 0x10EAC}, {0x10EFD, 0x10EFF},
    {0x10F46, 0x10F50}, {0x10F82, 0x10F85}, {0x11070, 0x11070}, {0x1133B, 0x1133B},
    {0x1145E, 0x1145E}, {0x11839, 0x1183A}, {0x11930, 0x11930}, {0x11938, 0x11938},
    {0x1193D, 0x1193E}, {0x11943, 0x11943}, {0x119E0, 0x119E0}, {0x11A34, 0x11A34},
    {0x11A47, 0x11A47}, {0x11A99, 0x11A99}, {0x11D42, 0x11D42}, {0x11D44, 0x11D45},
    {0x11D97, 0x11D97}, {0x11F41, 0x11F42}, {0x16FF0, 0x16FF1}, {0x1E030, 0x1E06D},
    {0x1E08F, 0x1E08F}, {0x1E130, 0x1E136}, {0x1E2AE, 0x1E2AE}, {0x1E2EC, 0x1E2EF},
    {0x1E4EC, 0x1E4EF}, {0x1F16C, 0x1F16C}, {0x1FBF0, 0x1FBF9},
};

// Whether `name`, which is a category like Lu or a group of them like L, holds `category`.
bool Holds(std::string_view name, std::string_view category) {
  return name.size() <= 2 && !name.empty() && category.starts_with(name);
}

// Appends \x{first}-\x{last} for every recent range that `name` holds.
void AppendRanges(std::string_view name, std::string& expression) {
  for (const CategoryRange& range : kRecentCategories) {
    if (!Holds(name, range.category)) continue;
    fmt::format_to(std::back_inserter(expression), "\\x{{{:X}}}-\\x{{{:X}}}",
                   static_cast<uint32_t>(range.first), static_cast<uint32_t>(range.last));
  }
}

// Appends the widened `escape` as a class of its own, which Oniguruma also accepts inside of a
// class.
void AppendWidened(std::string_view escape, bool is_negated, std::string_view name,
                   std::string& expression) {
  expression.append(is_negated ? "[^" : "[").append(escape);
  AppendRanges(name, expression);
  expression.push_back(']');
}

}  // namespace

std::string WidenCategories(std::string_view expression) {
  std::string widened;
  for (size_t i = 0; i < expression.size();) {
    if (expression[i] != '\\' || i + 1 == expression.size()) {
      widened.push_back(expression[i++]);
      continue;
    }
    const char kind = expression[i + 1];
    if (kind == 'd' || kind == 'D') {
      AppendWidened("\\d", kind == 'D', "Nd", widened);
      i += 2;
    } else if (const size_t close = expression.find('}', i);
               (kind == 'p' || kind == 'P') && expression.substr(i + 2).starts_with('{') &&
               close != std::string_view::npos) {
      std::string_view name = expression.substr(i + 3, close - i - 3);
      bool is_negated = kind == 'P';
      if (name.starts_with('^')) {
        is_negated = !is_negated;
        name.remove_prefix(1);
      }
      if (std::any_of(std::begin(kRecentCategories), std::end(kRecentCategories),
                      [&](const CategoryRange& range) { return Holds(name, range.category); })) {
        AppendWidened(fmt::format("\\p{{{}}}", name), is_negated, name, widened);
      } else {
        widened.append(expression.substr(i, close + 1 - i));
      }
      i = close + 1;
    } else {
      widened.append(expression.substr(i, 2));
      i += 2;
    }
  }
  return widened;
}

std::string_view RecentCategory(char32_t code_point) {
  const auto* found = std::lower_bound(
      std::begin(kRecentCategories), std::end(kRecentCategories), code_point,
      [](const CategoryRange& range, char32_t wanted) { return range.last < wanted; });
  return found != std::end(kRecentCategories) && found->first <= code_point ? found->category
                                                                            : "Cn";
}

bool IsInertInNormalization(char32_t code_point) {
  const auto* found = std::lower_bound(
      std::begin(kInertInNormalization), std::end(kInertInNormalization), code_point,
      [](const Range& range, char32_t wanted) { return range.last < wanted; });
  return found != std::end(kInertInNormalization) && found->first <= code_point;
}

}  // namespace kvtune::tokenizer
