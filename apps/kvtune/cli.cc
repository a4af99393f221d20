#include "apps/kvtune/cli.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>

#include "apps/kvtune/build_facts.h"
#include "apps/kvtune/command_table.h"
#include "apps/kvtune/completions.h"
#include "apps/kvtune/config_file.h"
#include "apps/kvtune/man_page.h"
#include "apps/kvtune/option_groups.h"
#include "apps/kvtune/options.h"
#include "apps/kvtune/output.h"
#include "lib/base/log.h"
#include "lib/base/suggestion.h"
#include "lib/base/version.h"
#include "lib/report/text_table.h"

namespace kvtune {
namespace {

constexpr size_t kHelpWidth = 100;

// One line for every command whose name begins with `beginning`.
std::string CommandLines(std::string_view beginning) {
  std::string lines;
  for (const Command& command : Commands()) {
    if (!command.name.starts_with(beginning)) continue;
    lines += fmt::format("  {:<15}{}\n", command.name, command.summary);
  }
  return lines;
}

std::string ProgramHelp() {
  return fmt::format(
      "kvtune {}: layer-wise KV cache precision, found offline\n"
      "Usage: kvtune COMMAND [OPTIONS]\n\n"
      "{}\n"
      "`kvtune COMMAND --help` lists a command's options.\n"
      "Exit codes: 0 ok, 1 error, 2 usage, 3 bug, 4 gate failed, 130 stopped by you.\n",
      Version(), CommandLines(""));
}

// Help of commands that share a first word, such as "pareto".
std::string GroupHelp(const std::string& first) {
  return fmt::format(
      "Usage: kvtune {} COMMAND [OPTIONS]\n\n"
      "{}\n"
      "`kvtune {} COMMAND --help` lists a command's options.\n",
      first, CommandLines(first + " "), first);
}

bool AsksForHelp(const std::string& word) {
  return word == "help" || word == "--help" || word == "-h";
}

// "--out RUN" and its meaning, one line an option.
std::string CommandHelp(const CLI::App& app) {
  std::string usage = app.get_name();
  TextTable table({{"", Align::kLeft}, {"", Align::kLeft}, {"", Align::kLeft}});
  for (const CLI::Option* option : app.get_options()) {
    const bool positional = option->get_positional();
    const std::string type = positional ? "" : option->get_type_name();
    std::string meaning = option->get_description();
    if (option->get_required()) {
      meaning += " (required)";
      usage += " " + option->get_name(positional) + (type.empty() ? "" : " " + type);
    }
    if (!option->get_default_str().empty()) {
      meaning += fmt::format(" (default: {})", option->get_default_str());
    }
    table.AddRow({"", option->get_name(positional, true) + (type.empty() ? "" : " " + type),
                  std::move(meaning)});
  }
  const std::string options = table.Render(kHelpWidth);
  return fmt::format("Usage: {} [OPTIONS]\n\n{}\n{}", usage, app.get_description(), options);
}

[[noreturn]] void FailUsage(const std::string& message) { throw Error(message, ExitCode::kUsage); }

// Second words of the commands that begin with `first`: "list", "show", ... of "pareto".
std::vector<std::string> SecondWords(const std::string& first) {
  std::vector<std::string> words;
  for (const Command& command : Commands()) {
    if (!command.name.starts_with(first + " ")) continue;
    words.push_back(command.name.substr(first.size() + 1));
  }
  return words;
}

// " (did you mean `pareto pick`?)" also for a word that is only the second one of a command.
std::string CommandSuggestion(const std::string& found) {
  std::vector<std::string> words;
  for (const Command& command : Commands()) {
    words.push_back(command.name.substr(0, command.name.find(' ')));
  }
  const std::string first = ClosestWord(found, words);
  std::vector<std::string> seconds;
  for (const Command& command : Commands()) {
    const size_t space = command.name.find(' ');
    if (space != std::string::npos) seconds.push_back(command.name.substr(space + 1));
  }
  const std::string second = ClosestWord(found, seconds);
  const bool is_second = !second.empty() && (first.empty() || second == found);
  if (!is_second) return DidYouMean(found, words);
  for (const Command& command : Commands()) {
    if (command.name.ends_with(" " + second))
      return fmt::format(" (did you mean `{}`?)", command.name);
  }
  return "";
}

[[noreturn]] void FailUnknownCommand(const std::string& found) {
  FailUsage(
      fmt::format("reading the command line: found the command \"{}\"{}, expected one that "
                  "`kvtune --help` lists",
                  found, CommandSuggestion(found)));
}

// REQUIRES: !words.empty(). Removes the words of the command's name.
const Command& TakeCommand(std::vector<std::string>& words) {
  std::string name = words.front();
  const std::vector<std::string> seconds = SecondWords(name);
  size_t taken = 1;
  if (!seconds.empty()) {
    const std::string second = words.size() > 1 ? words[1] : "";
    if (std::ranges::find(seconds, second) == seconds.end()) {
      FailUsage(fmt::format("kvtune {}: found \"{}\"{}, expected one of {}", name, second,
                            DidYouMean(second, seconds), fmt::join(seconds, ", ")));
    }
    name += " " + second;
    taken = 2;
  }
  const auto command = std::ranges::find(Commands(), name, &Command::name);
  if (command == Commands().end()) FailUnknownCommand(name);
  words.erase(words.begin(), words.begin() + static_cast<ptrdiff_t>(taken));
  return *command;
}

std::string OptionSuggestion(const CLI::App& app, const std::vector<std::string>& unexpected) {
  std::vector<std::string> names;
  for (const CLI::Option* option : app.get_options()) {
    for (const std::string& name : option->get_lnames()) names.push_back("--" + name);
  }
  for (const std::string& word : unexpected) {
    if (word.starts_with("--")) return DidYouMean(word, names);
  }
  return "";
}

ExitCode RunCommand(const Command& command, const std::vector<std::string>& words,
                    Invocation invocation) {
  CLI::App app(command.summary, "kvtune " + command.name);
  CommonOptions common;
  const Command::Action action = command.bind(app);
  AddCommonOptions(app, common);
  try {
    app.parse(std::vector<std::string>(words.rbegin(), words.rend()));
  } catch (const CLI::CallForHelp&) {
    PrintText(CommandHelp(app));
    return ExitCode::kOk;
  } catch (const CLI::ParseError& error) {
    FailUsage(fmt::format("kvtune {}: {}{}; see `kvtune {} --help`", command.name, error.what(),
                          OptionSuggestion(app, app.remaining()), command.name));
  }
  if (common.print_config) {
    PrintText(ConfigInEffect(app));
    return ExitCode::kOk;
  }
  SetLogLevel(common.quiet     ? LogLevel::kQuiet
              : common.verbose ? LogLevel::kVerbose
                               : LogLevel::kNormal);
  invocation.format = common.json ? OutputFormat::kJson : OutputFormat::kText;
  if (const CLI::Option* file = app.get_config_ptr(); file != nullptr && file->count() > 0)
    invocation.options_files = {file->as<std::string>()};
  return action(invocation);
}

}  // namespace

ExitCode RunCommandLine(const std::vector<std::string>& arguments) {
  std::vector<std::string> words(arguments.begin() + 1, arguments.end());
  if (words.empty()) {
    std::fputs(ProgramHelp().c_str(), stderr);
    return ExitCode::kUsage;
  }
  if (words.front() == "help" && words.size() > 1) {  // as `git help COMMAND`
    words.erase(words.begin());
    words.push_back("--help");
  }
  if (AsksForHelp(words.front())) {
    PrintText(ProgramHelp());
    return ExitCode::kOk;
  }
  if (words.front() == "--version" || words.front() == "-V" || words.front() == "version") {
    PrintText(VersionText());
    return ExitCode::kOk;
  }
  if (words.front() == "man-page" && words.size() == 1) {
    PrintExact(ManPage());
    return ExitCode::kOk;
  }
  if (words.front() == "completions") {
    PrintExact(Completions(words.size() == 2 ? words[1] : ""));
    return ExitCode::kOk;
  }
  if (!SecondWords(words.front()).empty()) {
    if (words.size() > 2 && words[1] == "help") {  // `pareto help pick`
      words.erase(words.begin() + 1);
      words.push_back("--help");
    }
    if (words.size() == 1 || AsksForHelp(words[1])) {
      PrintText(GroupHelp(words.front()));
      return ExitCode::kOk;
    }
  }
  const Command& command = TakeCommand(words);
  return RunCommand(command, words, {.command_line = arguments});
}

}  // namespace kvtune
