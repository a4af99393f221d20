// Bars of characters, for terminals.
#pragma once

#include <cstddef>
#include <string>

namespace kvtune {

// Whether the locale of the environment (LC_ALL, LC_CTYPE, LANG) can show block characters.
bool ShowsUnicode();

// A bar whose full length of `width` columns stands for 1, in eighths of a column with Unicode and
// as '#' without. Shares outside of 0 to 1 are cut. Nothing is added behind the bar.
std::string Bar(double share, size_t width, bool unicode);

// The same, filled up to `width` columns, as progress is shown.
std::string ProgressBar(double share, size_t width, bool unicode);

}  // namespace kvtune
