// What a text sets for an engine, in any of the forms in which people keep it: options of a shell
// command, environment variables, keys of YAML or JSON, arguments of a Python call.
//
//   vllm serve m --kv-cache-dtype fp8        kv_cache_dtype: fp8
//   command: ["--kv_cache_dtype=fp8"]        LLM(model="m", kv_cache_dtype="fp8")
//
// Names are compared without leading dashes, and "_" is as good as "-": engines' parsers read both.
// Comments hold no settings. A text that is YAML or JSON as a whole is walked as such; any other
// text is read as shell commands and as assignments.
#pragma once

#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace kvtune {

// One setting as it is written in the text.
struct Setting {
  std::string name;  // "--kv_cache_dtype"
  // An option has all words up to the next option or the end of the command.
  std::vector<std::string> words;
  // Whether it is an option of a command line; its further words may be the command's arguments.
  bool is_option = false;
  bool is_switch = false;    // an option without "=", which may take no word at all
  std::string missing = {};  // ShellText::missing of the shell text around an option
};

class EngineSettings {
 public:
  // `source` names the text in messages.
  EngineSettings(std::string_view content, std::string source);

  bool Has(std::initializer_list<std::string_view> names) const;
  // Finds the setting by any of its names. Returns nullptr when the text does not have it. Throws
  // Error when the text has it twice, or when the shell text around it ends too early.
  const Setting* Find(std::initializer_list<std::string_view> names) const;
  // The word, or the words, of a setting. Word returns nullopt when the text does not have the
  // setting, Words returns none. Word throws Error when the setting has no word, or several that
  // cannot be arguments of a command.
  std::optional<std::string> Word(std::initializer_list<std::string_view> names) const;
  std::vector<std::string> Words(std::initializer_list<std::string_view> names) const;
  // Whether the setting is a switch that is there, or has a word that means true. Returns false
  // when the text does not have it. Throws Error for a word that means neither true nor false.
  bool IsOn(std::initializer_list<std::string_view> names) const;

  const std::string& source() const { return source_; }
  [[noreturn]] void Fail(const Setting& setting, const std::string& found_and_expected) const;

 private:
  std::string source_;
  std::vector<Setting> settings_;
};

// Python or shell text without its comments, which begin with "#" outside of quotes and end with
// the line. Python texts between triple quotes are left out too, because they are mostly
// documentation.
std::string WithoutComments(std::string_view content);

}  // namespace kvtune
