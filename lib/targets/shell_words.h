// Shell text as the commands that a shell would run: their words, without quotes, comments and
// redirections.
//
// Goal: the words of what people paste (serve commands with quotes, line continuations, a log file
// behind ">", several commands in a row). Non-goal: a shell. Variables, command substitutions and
// globs stay as they are written.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace kvtune {

struct ShellText {
  // Simple commands in order; none is empty.
  std::vector<std::vector<std::string>> commands;
  // What ended too early, "a closing quote"; empty: nothing. The words before it are there.
  std::string missing;
};

// POSIX shell grammar, section 2.2 (quoting) and 2.10 (tokens): words end at blanks and operators;
// ; & && | || ( ) and line ends separate commands; a redirection takes its file name along.
ShellText SplitShell(std::string_view text);

}  // namespace kvtune
