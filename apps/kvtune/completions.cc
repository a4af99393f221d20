#include "apps/kvtune/completions.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <string_view>
#include <vector>

#include "apps/kvtune/command_description.h"
#include "lib/base/error.h"
#include "lib/base/words.h"

namespace kvtune {
namespace {

using Value = OptionDescription::Value;

enum class Shell { kBash, kZsh, kFish };
constexpr Word<Shell> kShellWords[] = {
    {"bash", Shell::kBash}, {"zsh", Shell::kZsh}, {"fish", Shell::kFish}};

std::string Replaced(std::string text, std::string_view what, std::string_view with) {
  for (size_t at = 0; (at = text.find(what, at)) != std::string::npos; at += with.size()) {
    text.replace(at, what.size(), with);
  }
  return text;
}

// In single quotes, as sh, zsh and (for what stands in our texts) fish read them.
std::string Quoted(const std::string& text) { return "'" + Replaced(text, "'", "'\\''") + "'"; }

// What can be typed at once: the commands' first words, each once.
std::vector<std::string> FirstWords(const std::vector<CommandDescription>& commands) {
  std::vector<std::string> words;
  for (const CommandDescription& command : commands) {
    std::string first = command.name.substr(0, command.name.find(' '));
    if (words.empty() || words.back() != first) words.push_back(std::move(first));
  }
  return words;
}

// The second words of `first`; none for a command of one word.
std::vector<std::string> SecondWords(const std::vector<CommandDescription>& commands,
                                     const std::string& first) {
  std::vector<std::string> words;
  for (const CommandDescription& command : commands) {
    if (!command.name.starts_with(first + " ")) continue;
    words.push_back(command.name.substr(first.size() + 1));
  }
  return words;
}

std::string SummaryOf(const std::vector<CommandDescription>& commands, const std::string& first) {
  const auto command = std::ranges::find(commands, first, &CommandDescription::name);
  if (command != commands.end()) return command->summary;
  return fmt::format("{}", fmt::join(SecondWords(commands, first), ", "));
}

std::string BashValue(const OptionDescription& option) {
  switch (option.value) {
    case Value::kNone:
      return "";
    case Value::kWords:
      return fmt::format("words=\"{}\" kind=words", fmt::join(option.words, " "));
    case Value::kFolder:
      return "kind=folder";
    case Value::kFile:
      return "kind=file";
    case Value::kOther:
      return "kind=other";
  }
  return "";
}

// One branch of the case over commands: its options, and what follows each of them.
std::string BashCommand(const CommandDescription& command) {
  std::string names, values;
  for (const OptionDescription& option : command.options) {
    if (option.positional && option.names.size() == 1) {
      if (option.value == Value::kWords) {
        values += fmt::format("        *) {} ;;\n", BashValue(option));
      }
      continue;
    }
    std::vector<std::string> spelled;
    for (const std::string& name : option.names) {
      if (name.starts_with("-")) spelled.push_back(name);
    }
    names += fmt::format(" {}", fmt::join(spelled, " "));
    if (option.value == Value::kNone) continue;
    values =
        fmt::format("        {}) {} ;;\n", fmt::join(spelled, " | "), BashValue(option)) + values;
  }
  return fmt::format(
      "    \"{}\")\n      options=\"{}\"\n      case \"$previous\" in\n{}      esac\n"
      "      ;;\n",
      command.name, names.substr(std::min<size_t>(1, names.size())), values);
}

std::string Bash(const std::vector<CommandDescription>& commands) {
  std::string groups, branches;
  for (const std::string& first : FirstWords(commands)) {
    const std::vector<std::string> seconds = SecondWords(commands, first);
    if (!seconds.empty()) {
      groups += fmt::format("    {}) seconds=\"{}\" ;;\n", first, fmt::join(seconds, " "));
    }
  }
  for (const CommandDescription& command : commands) branches += BashCommand(command);
  return fmt::format(R"(# Completion of kvtune(1) for bash; written by `kvtune completions bash`.
_kvtune() {{
  local current="${{COMP_WORDS[COMP_CWORD]}}" previous="${{COMP_WORDS[COMP_CWORD - 1]}}"
  local command="${{COMP_WORDS[1]}}" seconds="" options="" words="" kind=""
  COMPREPLY=()
  if [ "$COMP_CWORD" -eq 1 ]; then
    mapfile -t COMPREPLY < <(compgen -W "{} help --help --version" -- "$current")
    return
  fi
  case "$command" in
{}  esac
  if [ -n "$seconds" ]; then
    if [ "$COMP_CWORD" -eq 2 ]; then
      mapfile -t COMPREPLY < <(compgen -W "$seconds" -- "$current")
      return
    fi
    command="$command ${{COMP_WORDS[2]}}"
  fi
  case "$command" in
{}  esac
  if [[ "$current" == -* && "$kind" != other ]]; then
    mapfile -t COMPREPLY < <(compgen -W "$options" -- "$current")
    return
  fi
  case "$kind" in
    words) mapfile -t COMPREPLY < <(compgen -W "$words" -- "$current") ;;
    folder) compopt -o filenames; mapfile -t COMPREPLY < <(compgen -d -- "$current") ;;
    other) ;;
    *) compopt -o filenames; mapfile -t COMPREPLY < <(compgen -f -- "$current") ;;
  esac
}}
complete -F _kvtune kvtune
)",
                     fmt::join(FirstWords(commands), " "), groups, branches);
}

std::string ZshAction(const OptionDescription& option) {
  switch (option.value) {
    case Value::kWords:
      return fmt::format("({})", fmt::join(option.words, " "));
    case Value::kFolder:
      return "_files -/";
    case Value::kFile:
      return "_files";
    default:
      return " ";
  }
}

// A meaning within a specification, where brackets and colons have a meaning of their own.
std::string ZshText(std::string text) {
  for (const std::string_view letter : {"\\", "[", "]", ":"}) {
    text = Replaced(std::move(text), letter, "\\" + std::string(letter));
  }
  return text;
}

std::string ZshOptions(const CommandDescription& command) {
  std::string specifications;
  bool any_file = true;
  for (const OptionDescription& option : command.options) {
    for (const std::string& name : option.names) {
      std::string specification;
      if (name.starts_with("-")) {
        specification = "*" + name + "[" + ZshText(option.meaning) + "]";
        if (option.value != Value::kNone) {
          specification += ":" + ZshText(option.value_name) + ":" + ZshAction(option);
        }
      } else {
        any_file = false;
        specification = "*:" + ZshText(name) + ":" +
                        (option.value == Value::kWords ? ZshAction(option) : "_files");
      }
      specifications += " \\\n        " + Quoted(specification);
    }
  }
  if (any_file) specifications += " \\\n        '*: :_files'";
  return specifications;
}

std::string Zsh(const std::vector<CommandDescription>& commands) {
  std::string names, groups, branches;
  for (const std::string& first : FirstWords(commands)) {
    names +=
        "      " + Quoted(first + ":" + Replaced(SummaryOf(commands, first), ":", "\\:")) + "\n";
    const std::vector<std::string> seconds = SecondWords(commands, first);
    if (seconds.empty()) continue;
    groups += fmt::format("    {}) seconds=({}) ;;\n", first, fmt::join(seconds, " "));
  }
  for (const CommandDescription& command : commands) {
    branches += fmt::format("    {})\n      _arguments -s -S{}\n      ;;\n", Quoted(command.name),
                            ZshOptions(command));
  }
  return fmt::format(R"(#compdef kvtune
# Completion of kvtune(1) for zsh; written by `kvtune completions zsh`.
_kvtune() {{
  local -a names seconds
  local command="${{words[2]}}"
  if (( CURRENT == 2 )); then
    names=(
{}      'help:show the options of a command'
    )
    _describe command names
    return
  fi
  case "$command" in
{}  esac
  if (( $#seconds )); then
    if (( CURRENT == 3 )); then
      _describe command seconds
      return
    fi
    command="$command ${{words[3]}}"
    shift words
    (( CURRENT-- ))
  fi
  shift words
  (( CURRENT-- ))
  case "$command" in
{}  esac
}}
if [ "$funcstack[1]" = "_kvtune" ]; then
  _kvtune "$@"
else
  compdef _kvtune kvtune
fi
)",
                     names, groups, branches);
}

std::string FishOption(const std::string& condition, const OptionDescription& option) {
  std::string line = "complete -c kvtune -n " + Quoted(condition);
  for (const std::string& name : option.names) {
    if (name.starts_with("--")) {
      line += " -l " + name.substr(2);
    } else if (name.starts_with("-")) {
      line += " -s " + name.substr(1);
    }
  }
  switch (option.value) {
    case Value::kNone:
      break;
    case Value::kWords:
      line += fmt::format(" -x -a \"{}\"", fmt::join(option.words, " "));
      break;
    case Value::kFolder:
      line += " -x -a '(__fish_complete_directories)'";
      break;
    case Value::kFile:
      line += " -r -F";
      break;
    case Value::kOther:
      line += " -x";
      break;
  }
  return line + " -d " + Quoted(option.meaning) + "\n";
}

std::string Fish(const std::vector<CommandDescription>& commands) {
  std::string text =
      "# Completion of kvtune(1) for fish; written by `kvtune completions fish`.\n"
      "complete -c kvtune -n __fish_use_subcommand -f -a help -d 'show the options of a command'\n";
  for (const std::string& first : FirstWords(commands)) {
    text += fmt::format("complete -c kvtune -n __fish_use_subcommand -f -a {} -d {}\n", first,
                        Quoted(SummaryOf(commands, first)));
    const std::vector<std::string> seconds = SecondWords(commands, first);
    if (seconds.empty()) continue;
    text += fmt::format(
        "complete -c kvtune -n '__fish_seen_subcommand_from {0}; and not "
        "__fish_seen_subcommand_from {1}' -f -a '{1}'\n",
        first, fmt::join(seconds, " "));
  }
  for (const CommandDescription& command : commands) {
    const std::string condition = "__fish_seen_subcommand_from " +
                                  Replaced(command.name, " ", "; and __fish_seen_subcommand_from ");
    for (const OptionDescription& option : command.options) {
      const bool named = std::ranges::any_of(
          option.names, [](const std::string& name) { return name.starts_with("-"); });
      if (named) text += FishOption(condition, option);
    }
  }
  return text;
}

}  // namespace

std::string Completions(const std::string& shell) {
  const std::vector<CommandDescription> commands = DescribeCommands();
  switch (ValueOf(kShellWords, shell, "kvtune completions")) {
    case Shell::kBash:
      return Bash(commands);
    case Shell::kZsh:
      return Zsh(commands);
    case Shell::kFish:
      return Fish(commands);
  }
  return "";
}

}  // namespace kvtune
