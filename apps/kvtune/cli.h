// The command line: which commands and options there are, and what is said when they are mistyped.
#pragma once

#include <string>
#include <vector>

#include "lib/base/error.h"

namespace kvtune {

// Runs the command that `arguments` (with the program's name first) ask for.
// Throws Error (kUsage) for a mistyped command line, and whatever the command throws.
ExitCode RunCommandLine(const std::vector<std::string>& arguments);

}  // namespace kvtune
