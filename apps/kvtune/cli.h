// The command line: reads a command with its options and runs it, and says what is wrong when they
// are mistyped.
#pragma once

#include <string>
#include <vector>

#include "lib/base/error.h"

namespace kvtune {

// Runs the command that `arguments` ask for; the first argument is the program's name. Throws Error
// (kUsage) for a mistyped command line, and whatever the command throws.
ExitCode RunCommandLine(const std::vector<std::string>& arguments);

}  // namespace kvtune
