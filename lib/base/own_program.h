// This program, started once more as a child process.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

namespace kvtune {

enum class ChildOutput { kInherited, kNone };

// Starts this program with these arguments (the first is its name), nothing to read, and its own
// environment, in which `variables` ("NAME=value") take the place of those of these names. The
// child ends by SIGKILL when this thread's process ends, however it ends. Returns its number.
// Throws Error. REQUIRES: the caller is the main thread.
pid_t StartOwnProgram(const std::vector<std::string>& arguments,
                      const std::vector<std::string>& variables, ChildOutput output);

}  // namespace kvtune
