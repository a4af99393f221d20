// The manual page kvtune(1), from the table of commands.
#pragma once

#include <string>

namespace kvtune {

// The page in groff's macros "man".
std::string ManPage();

}  // namespace kvtune
