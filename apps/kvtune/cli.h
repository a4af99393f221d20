// The command line: which commands and options there are, and what is said when they are mistyped.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "lib/base/error.h"

namespace kvtune {

// Runs the command that `arguments` (with the program's name first) ask for.
// Throws Error (kUsage) for a mistyped command line, and whatever the command throws.
ExitCode RunCommandLine(const std::vector<std::string>& arguments);

// The one of `words` that `mistyped` was probably meant to be; empty when none is close.
std::string ClosestWord(const std::string& mistyped, std::span<const std::string> words);

}  // namespace kvtune
