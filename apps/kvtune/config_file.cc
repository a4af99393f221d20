#include "apps/kvtune/config_file.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <charconv>
#include <filesystem>
#include <istream>
#include <memory>
#include <nlohmann/json.hpp>
#include <system_error>
#include <vector>

#define TOML_ENABLE_FORMATTERS 0
#include <toml++/toml.h>

#include "lib/base/error.h"
#include "lib/base/file.h"
#include "lib/base/suggestion.h"

namespace kvtune {
namespace {

// A value as the command line would have it.
std::string ArgumentOf(const toml::node& value, const std::string& key) {
  if (const auto* text = value.as_string()) return text->get();
  if (const auto* number = value.as_integer()) return std::to_string(number->get());
  if (const auto* number = value.as_floating_point()) return fmt::format("{}", number->get());
  if (const auto* flag = value.as_boolean()) return flag->get() ? "true" : "false";
  throw Error(
      fmt::format("reading --config: found a {} for \"{}\" in line {}, expected a text, a "
                  "number, true or false",
                  value.is_table()   ? "table"
                  : value.is_array() ? "nested array"
                                     : "date",
                  key, value.source().begin.line));
}

std::vector<std::string> ArgumentsOf(const toml::node& value, const std::string& key) {
  std::vector<std::string> arguments;
  if (const toml::array* list = value.as_array()) {
    for (const toml::node& entry : *list) arguments.push_back(ArgumentOf(entry, key));
  } else {
    arguments.push_back(ArgumentOf(value, key));
  }
  return arguments;
}

bool TakesNoValue(const CLI::Option& option) { return option.get_items_expected_max() == 0; }

// CLI11 asks this for the options of a file. Its own reader takes a "#" within quotes for a comment
// and skips what it does not understand, so the file is read by toml++.
class TomlConfig : public CLI::Config {
 public:
  explicit TomlConfig(const CLI::App& app) : app_(app) {}

  std::vector<CLI::ConfigItem> from_config(std::istream& input) const override {
    std::vector<CLI::ConfigItem> given;
    try {
      for (const auto& [name, value] : toml::parse(input)) {
        const std::string key(name.str());
        const CLI::Option& option = FindOption(key, value.source().begin.line);
        std::vector<std::string> arguments = ArgumentsOf(value, key);
        // An empty array and a flag that is not set are as if they were not there.
        if (arguments.empty()) continue;
        if (TakesNoValue(option) && arguments.back() == "false") continue;
        given.push_back({.parents = {}, .name = key, .inputs = std::move(arguments)});
      }
    } catch (const toml::parse_error& error) {
      throw Error(fmt::format("reading --config: found no TOML in line {}: {}",
                              error.source().begin.line, error.description()));
    }
    return given;
  }

  std::string to_config(const CLI::App*, bool, bool, std::string) const override { return ""; }

 private:
  const CLI::Option& FindOption(const std::string& key, size_t line) const {
    std::vector<std::string> known;
    for (const CLI::Option* option : app_.get_options()) {
      if (!option->get_configurable()) continue;
      for (const std::string& name : option->get_lnames()) {
        if (name == key) return *option;
        known.push_back(name);
      }
    }
    throw Error(
        fmt::format("reading --config: found \"{}\" in line {}{}, expected the long name "
                    "of an option as `{} --help` lists them",
                    key, line, DidYouMean(key, known), app_.get_name()));
  }

  const CLI::App& app_;
};

bool IsNumber(const std::string& text) {
  double number = 0;
  const auto [end, reason] = std::from_chars(text.data(), text.data() + text.size(), number);
  // TOML writes neither ".5" nor "007", and has words for what is not finite.
  const bool plain = !text.empty() && text.find_first_not_of("0123456789.-") == std::string::npos &&
                     text.front() != '.' && text.back() != '.' &&
                     (text.front() != '0' || text.size() == 1 || text[1] == '.');
  return plain && reason == std::errc() && end == text.data() + text.size();
}

// JSON's strings are strings of TOML too.
std::string TomlText(const std::string& text) {
  if (IsNumber(text)) return text;
  return nlohmann::json(text).dump(-1, ' ', true, nlohmann::json::error_handler_t::replace);
}

std::string TomlValue(const CLI::Option& option) {
  if (TakesNoValue(option)) {
    return option.count() > 0 && option.as<bool>() ? "true" : "false";
  }
  std::vector<std::string> values;
  for (const std::string& given : option.results()) values.push_back(TomlText(given));
  const bool excluded = std::ranges::any_of(
      option.get_excludes(), [](const CLI::Option* other) { return other->count() > 0; });
  if (values.empty() && !excluded && !option.get_default_str().empty()) {
    values.push_back(TomlText(option.get_default_str()));
  }
  if (values.empty()) return "";
  return option.get_items_expected_max() > 1 ? fmt::format("[{}]", fmt::join(values, ", "))
                                             : values.back();
}

}  // namespace

void AddConfigFile(CLI::App& app, bool& print_config) {
  // CLI11 itself waits for ever where the file is a pipe, and reads one that fails as an empty one.
  const auto require_readable = [](const std::string& file) {
    std::error_code ignored;
    if (std::filesystem::exists(file, ignored)) ReadFile(file);
    return std::string();
  };
  app.set_config("--config", "", "Read options from a TOML file; those given here win")
      ->check(require_readable)
      ->type_name("FILE");
  app.config_formatter(std::make_shared<TomlConfig>(app));
  app.allow_config_extras(CLI::config_extras_mode::error);
  app.add_flag("--print-config", print_config, "Print the options in effect as such a file")
      ->configurable(false);
}

std::string ConfigInEffect(const CLI::App& app) {
  std::string text = fmt::format("# {}\n", app.get_name());
  for (const CLI::Option* option : app.get_options()) {
    if (!option->get_configurable() || option->get_lnames().empty()) continue;
    const std::string value = TomlValue(*option);
    if (!value.empty()) text += fmt::format("{} = {}\n", option->get_lnames().front(), value);
  }
  return text;
}

}  // namespace kvtune
