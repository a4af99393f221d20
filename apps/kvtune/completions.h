// Completions of the command line for shells, from the table of commands.
#pragma once

#include <string>

namespace kvtune {

// The script for "bash", "zsh" or "fish". Throws Error (kUsage) for any other word.
std::string Completions(const std::string& shell);

}  // namespace kvtune
