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

// Returns `expression` with every \p{category} and \d widened by the code points of Unicode 15 and
// 16, which is harmless where the engine of regular expressions knows them. Scripts (\p{Han}), long
// names (\p{Letter}) and \w stay as they are, because published patterns use categories, and
// Oniguruma's \w has other members inside of a class than outside.
std::string WidenCategories(std::string_view expression);

// The category, for example "Lo", of a code point that Unicode 15 or 16 added, and "Cn" for all
// others.
std::string_view RecentCategory(char32_t code_point);

// Whether the normalization of `tokenizers` leaves `code_point` alone, and joins nothing across it,
// although utf8proc would decompose or reorder it.
bool IsInertInNormalization(char32_t code_point);

}  // namespace kvtune::tokenizer
