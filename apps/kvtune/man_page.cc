#include "apps/kvtune/man_page.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <string_view>
#include <vector>

#include "apps/kvtune/command_description.h"
#include "lib/base/version.h"

namespace kvtune {
namespace {

// A text as groff prints it: no letter is a command, and every hyphen can be copied as a minus.
std::string Escaped(std::string_view text) {
  std::string escaped;
  for (const char letter : text) {
    if (letter == '\\') {
      escaped += "\\e";
    } else if (letter == '-') {
      escaped += "\\-";
    } else if ((letter == '.' || letter == '\'') && escaped.empty()) {
      escaped += "\\&";
      escaped += letter;
    } else {
      escaped += letter;
    }
  }
  return escaped;
}

std::string OptionEntry(const OptionDescription& option) {
  std::vector<std::string> names;
  for (const std::string& name : option.names) names.push_back("\\fB" + Escaped(name) + "\\fR");
  std::string meaning = option.meaning;
  if (option.required) meaning += " (required)";
  if (!option.default_value.empty()) {
    meaning += fmt::format(" (default: {})", option.default_value);
  }
  std::string text = fmt::format(".TP\n{}", fmt::join(names, ", "));
  if (!option.value_name.empty()) text += " \\fI" + Escaped(option.value_name) + "\\fR";
  return text + "\n" + Escaped(meaning) + ".\n";
}

std::string CommandSection(const CommandDescription& command) {
  std::string text =
      fmt::format(".SS kvtune {}\n{}.\n", Escaped(command.name), Escaped(command.summary));
  for (const OptionDescription& option : command.options) text += OptionEntry(option);
  return text;
}

constexpr std::string_view kAfterCommands = R"(.SH EXIT STATUS
.TP
.B 0
ok
.TP
.B 1
error: bad input, bad file, unusable device
.TP
.B 2
usage: mistyped command, option or plan
.TP
.B 3
a bug in kvtune
.TP
.B 4
.BR "kvtune check" :
a plan got worse or breaks a limit
.TP
.B 130
stopped by the user; everything that was scored is kept
.SH ENVIRONMENT
.TP
.B KVTUNE_DATA_DIR
the folder with calibration.jsonl and held_out.jsonl that is looked at first
.TP
.B OMP_NUM_THREADS
the default of \fB\-\-threads\fR
.SH FILES
.TP
.I share/kvtune
below the folder that holds the program's bin/: the bundled prompts and the demo model
(calib_data/), the JSON Schema of the gate's configs, and render_chat.py, which renders chats with
a model's template
.SH EXAMPLES
.TP
Find plans for a model, then write the one as good as 8 bits everywhere for its engine:
.EX
kvtune search \-\-model DIR \-\-prompts prompts.jsonl \-\-out my\-run
kvtune pareto pick my\-run \-\-lossless
kvtune pareto export my\-run \-\-plan p05 \-\-format kvtuner \-\-out plan.yaml
.EE
)";

}  // namespace

std::string ManPage() {
  std::string text = fmt::format(
      ".TH KVTUNE 1 \"\" \"kvtune {}\" \"User Commands\"\n"
      ".SH NAME\n"
      "kvtune \\- find layer\\-wise KV cache precision plans\n"
      ".SH SYNOPSIS\n"
      ".B kvtune\n"
      ".I COMMAND\n"
      ".RI [ OPTION ]...\n"
      ".SH DESCRIPTION\n"
      "kvtune finds, for each layer of a language model, how many bits its cached keys and its "
      "cached values need.\n"
      "It scores many layer\\-wise plans against the exact model and gives the plans that no other "
      "plan beats in both\n"
      "quality loss and memory.\n"
      ".SH COMMANDS\n",
      Version());
  for (const CommandDescription& command : DescribeCommands()) text += CommandSection(command);
  return text + std::string(kAfterCommands);
}

}  // namespace kvtune
