#include "apps/kvtune/command_description.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <set>

#include "apps/kvtune/command_table.h"
#include "apps/kvtune/option_groups.h"
#include "lib/base/split.h"
#include "lib/targets/target.h"

namespace kvtune {
namespace {

using Value = OptionDescription::Value;

std::vector<std::string> TargetNames() {
  std::vector<std::string> names;
  for (const Target& target : Targets()) names.emplace_back(target.name);
  return names;
}

std::vector<std::string> ExportNames() {
  std::set<std::string> names;
  for (const Target& target : Targets()) {
    for (const ExportSummary& format : target.exports) names.emplace(format.name);
  }
  return {names.begin(), names.end()};
}

bool IsFlag(const CLI::Option& option) { return option.get_items_expected_max() == 0; }

void DescribeValue(const CLI::Option& option, OptionDescription& described) {
  const std::string type = option.get_type_name();
  const std::string name = described.names.back();
  if (name == "--target") {
    described.words = TargetNames();
  } else if (name == "--format") {
    described.words = ExportNames();
  } else if (type.find('|') != std::string::npos || name == "--uniform") {
    described.words = SplitAt('|', type);  // "auto|float32|bfloat16"
  }
  if (IsFlag(option)) {
    described.value = Value::kNone;
  } else if (!described.words.empty()) {
    described.value = Value::kWords;
  } else if (type == "DIR") {
    described.value = Value::kFolder;
  } else if (type.starts_with("FILE") || type == "[FILE]" || type == "RUN" || type == "SPEC" ||
             name == "RUN" || name == "FILE") {
    described.value = Value::kFile;
  } else {
    described.value = Value::kOther;
  }
}

OptionDescription DescribeOption(const CLI::Option& option) {
  OptionDescription described;
  described.positional = option.get_positional();
  if (described.positional) described.names.push_back(option.get_name(true));
  for (const std::string& name : option.get_snames()) described.names.push_back("-" + name);
  for (const std::string& name : option.get_lnames()) described.names.push_back("--" + name);
  described.required = option.get_required();
  if (option.nonpositional() && !IsFlag(option)) {
    described.value_name = option.get_type_name();
    // CLI11 appends what its own checks say.
    const size_t check = described.value_name.find(":POSITIVE");
    if (check != std::string::npos) described.value_name.erase(check);
  }
  described.meaning = option.get_description();
  described.default_value = option.get_default_str();
  DescribeValue(option, described);
  return described;
}

}  // namespace

std::vector<CommandDescription> DescribeCommands() {
  std::vector<CommandDescription> descriptions;
  for (const Command& command : Commands()) {
    CLI::App app(command.summary, "kvtune " + command.name);
    CommonOptions common;
    command.bind(app);
    AddCommonOptions(app, common);
    CommandDescription description{.name = command.name, .summary = command.summary, .options = {}};
    for (const CLI::Option* option : app.get_options()) {
      description.options.push_back(DescribeOption(*option));
    }
    descriptions.push_back(std::move(description));
  }
  return descriptions;
}

}  // namespace kvtune
