// Options in a file: TOML with one key for each long option of the command, and no tables.
//
//   max-tokens = 8192
//   prompts = ["a.jsonl", "b.jsonl"]
//   no-racing = true
#pragma once

#include <string>

namespace CLI {
class App;
}  // namespace CLI

namespace kvtune {

// Adds --config FILE and --print-config. What the command line gives wins over the file. An option
// that the command does not have and a value of a wrong type are errors, as on the command line.
// The files are read while `app` parses, which throws Error for one that is no TOML. REQUIRES: it
// is called after all other options were added, and `app` has no --config of its own.
void AddConfigFile(CLI::App& app, bool& print_config);

// The options in effect after `app` was parsed, as such a file: those that were given and the
// defaults that are known before the command runs.
std::string ConfigInEffect(const CLI::App& app);

}  // namespace kvtune
