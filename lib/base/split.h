// A text in its parts.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace kvtune {

// What stands before, between and after the separators: one part more than there are of them, empty
// ones too.
std::vector<std::string> SplitAt(char separator, std::string_view text);

// What stands behind the byte order mark of UTF-8, which some editors put in front of a text.
std::string_view WithoutByteOrderMark(std::string_view text);

}  // namespace kvtune
