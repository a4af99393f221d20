// The commands and their options as data, read off the declarations that parse them, for whatever
// is written from them: the man page and the shells' completions.
#pragma once

#include <string>
#include <vector>

namespace kvtune {

struct OptionDescription {
  // What may stand for a value. Shells complete folders and files by themselves.
  enum class Value { kNone, kWords, kFolder, kFile, kOther };

  std::vector<std::string> names;  // "-q", "--quiet"; a positional has its name first: "RUN"
  bool positional = false;
  bool required = false;
  Value value = Value::kNone;
  std::string value_name;          // "DIR"; empty for flags
  std::vector<std::string> words;  // of kWords
  std::string meaning;
  std::string default_value;
};

struct CommandDescription {
  std::string name;  // one word or two
  std::string summary;
  std::vector<OptionDescription> options;
};

// All commands in the order of `kvtune --help`.
std::vector<CommandDescription> DescribeCommands();

}  // namespace kvtune
