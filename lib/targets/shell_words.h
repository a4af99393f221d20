// Splits shell text into the commands that a shell would run, each as its words without quotes,
// comments and redirections.
//
// The goal is to find the words of what people paste: serve commands with quotes, line
// continuations, a log file behind ">", several commands in a row. It is not to be a shell:
// variables, command substitutions and globs stay as they are written.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace kvtune {

struct ShellText {
  // The simple commands in their order; none is empty.
  std::vector<std::vector<std::string>> commands;
  // What the text ends without, for example "a closing quote"; empty when it is complete. The words
  // before that place are in `commands` all the same.
  std::string missing;
};

// Follows the POSIX shell grammar, sections 2.2 (quoting) and 2.10 (tokens). Words end at blanks
// and operators; the operators ; & && | || ( ) and line ends separate commands; a redirection is
// left out together with its file name.
ShellText SplitShell(std::string_view text);

}  // namespace kvtune
