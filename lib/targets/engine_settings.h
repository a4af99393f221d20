// What a text sets for an engine, whatever form people keep it in: options of a shell command,
// environment variables, keys of YAML or JSON, arguments of a Python call.
//
//   vllm serve m --kv-cache-dtype fp8        kv_cache_dtype: fp8
//   command: ["--kv_cache_dtype=fp8"]        LLM(model="m", kv_cache_dtype="fp8")
//
// Names are compared without leading dashes, and "_" is as good as "-": engines' parsers read both.
// Comments hold no settings. A text that is YAML or JSON is walked as such, whole; any other text
// is read as shell and as assignments.
#pragma once

#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace kvtune {

// One setting, as written.
struct Setting {
  std::string name;                // "--kv_cache_dtype"
  std::vector<std::string> words;  // of an option: up to the next option or the command's end
  bool is_option = false;          // of a command line, where further words may be arguments
  bool is_switch = false;          // an option without "=", which may take no word at all
  std::string missing = {};        // of the shell text around an option: ShellText::missing
};

class EngineSettings {
 public:
  // `source` names the text in messages.
  EngineSettings(std::string_view content, std::string source);

  bool Has(std::initializer_list<std::string_view> names) const;
  // The setting by any of its names. nullptr without it. Throws Error when it is there twice.
  const Setting* Find(std::initializer_list<std::string_view> names) const;
  // Its word, or words. nullopt without the setting. Throws Error for none, and for several where
  // one is asked for.
  std::optional<std::string> Word(std::initializer_list<std::string_view> names) const;
  std::vector<std::string> Words(std::initializer_list<std::string_view> names) const;
  // A switch that is there, or true; false without it.
  bool IsOn(std::initializer_list<std::string_view> names) const;

  const std::string& source() const { return source_; }
  [[noreturn]] void Fail(const Setting& setting, const std::string& found_and_expected) const;

 private:
  std::string source_;
  std::vector<Setting> settings_;
};

// Python or shell text whose comments ("#" outside of quotes, to the line's end) are blanks.
std::string WithoutComments(std::string_view content);

}  // namespace kvtune
