// Bridges between the Unicode versions of our libraries and those inside of `tokenizers` 0.23.
//
// Where one side takes a code point for a letter and the other for unassigned, a text is cut into
// other words and so into other tokens. `tokenizers` matches with Oniguruma 6.9.10 (Unicode 16) and
// normalizes with tables of Unicode 9; Debian 12 has Oniguruma 6.9.8 (Unicode 14) and utf8proc 2.8
// (Unicode 15).
#pragma once

#include <string>
#include <string_view>

namespace kvtune::tokenizer {

// The categories that code points of Unicode 15 and 16 have.
inline constexpr std::string_view kCategories[] = {"Lu", "Ll", "Lt", "Lm", "Lo", "Mn", "Mc", "Me",
                                                   "Nd", "Nl", "No", "Pc", "Pd", "Ps", "Pe", "Pi",
                                                   "Pf", "Po", "Sm", "Sc", "Sk", "So", "Cf"};

// Appends the code points that Unicode 15 or 16 added to a category ("Lu"), to a group of them
// ("L") or at all (""), as members of a class of a regular expression: "\x{897}-\x{897}".
void AppendRecentRanges(std::string_view category, std::string& members);

// The category, for example "Lo", of a code point that Unicode 15 or 16 added, and "Cn" for all
// others.
std::string_view RecentCategory(char32_t code_point);

// Whether the normalization of `tokenizers` leaves `code_point` alone, and joins nothing across it,
// although utf8proc would decompose or reorder it.
bool IsInertInNormalization(char32_t code_point);

}  // namespace kvtune::tokenizer
