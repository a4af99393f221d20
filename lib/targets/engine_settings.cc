#include "lib/targets/engine_settings.h"

#include <fmt/format.h>
#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <set>
#include <sstream>
#include <utility>

#include "lib/base/error.h"
#include "lib/targets/shell_words.h"
#include "lib/targets/yaml_text.h"

namespace kvtune {
namespace {

bool IsNameStart(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; }
bool IsNamePart(char c) { return IsNameStart(c) || (c >= '0' && c <= '9') || c == '-'; }
bool IsSpace(char c) { return c == ' ' || c == '\t' || c == '\r' || c == '\n'; }

// Whether the word is an option. A negative number also begins with a dash and is none.
bool IsOption(std::string_view word) {
  const size_t name = word.find_first_not_of('-');
  return name != 0 && name != std::string_view::npos && IsNameStart(word[name]);
}

bool IsSameName(std::string_view a, std::string_view b) {
  a.remove_prefix(std::min(a.find_first_not_of('-'), a.size()));
  b.remove_prefix(std::min(b.find_first_not_of('-'), b.size()));
  return std::ranges::equal(
      a, b, {}, [](char c) { return c == '_' ? '-' : c; },
      [](char c) { return c == '_' ? '-' : c; });
}

// Adds the options of one command.
void AddOptions(const std::vector<std::string>& command, std::vector<Setting>& settings) {
  Setting* option = nullptr;
  for (const std::string& word : command) {
    if (!IsOption(word)) {
      if (option) option->words.push_back(word);
      continue;
    }
    const size_t equals = word.find('=');
    settings.push_back({.name = word.substr(0, equals),
                        .words = {},
                        .is_option = true,
                        .is_switch = equals == std::string::npos});
    option = &settings.back();
    if (equals != std::string::npos) option->words.push_back(word.substr(equals + 1));
  }
}

// Reads the value of an assignment: a word, a quoted text, or a list of these.
Setting ReadAssigned(std::string name, std::string_view text) {
  Setting setting{.name = std::move(name), .words = {}};
  size_t at = 0;
  const auto read_word = [&] {
    std::string word;
    if (at < text.size() && (text[at] == '"' || text[at] == '\'')) {
      const size_t end = std::min(text.find(text[at], at + 1), text.size());
      word = text.substr(at + 1, end - at - 1);
      at = std::min(end + 1, text.size());
    } else {
      while (at < text.size() &&
             (IsNamePart(text[at]) || text[at] == '.' || text[at] == '+' || text[at] == '/' ||
              text[at] == '$' || text[at] == '{' || text[at] == '}')) {
        word += text[at++];
      }
    }
    return word;
  };
  if (text.empty() || (text[0] != '[' && text[0] != '(')) {
    setting.words.push_back(read_word());
    return setting;
  }
  const char close = text[0] == '[' ? ']' : ')';
  for (at = 1; at < text.size() && text[at] != close;) {
    if (IsSpace(text[at]) || text[at] == ',') {
      ++at;
      continue;
    }
    const size_t before = at;
    setting.words.push_back(read_word());
    if (at == before) break;  // a character that no list of words has
  }
  return setting;
}

// Adds assignments: NAME=value as in an environment and NAME = value as in Python, also between
// quotes (Environment="NAME=value"). Options and comparisons are no assignments.
void AddAssignments(const std::string& text, std::vector<Setting>& settings) {
  for (size_t at = 0; at < text.size();) {
    if (!IsNameStart(text[at])) {
      ++at;
      continue;
    }
    const bool begins = at == 0 || (!IsNamePart(text[at - 1]) && text[at - 1] != '$');
    size_t end = at;
    while (end < text.size() && IsNamePart(text[end])) ++end;
    size_t equals = end;
    while (equals < text.size() && (text[equals] == ' ' || text[equals] == '\t')) ++equals;
    const bool assigns =
        begins && equals < text.size() && text[equals] == '=' && text.substr(equals, 2) != "==";
    if (assigns) {
      const size_t value = std::min(text.find_first_not_of(" \t", equals + 1), text.size());
      settings.push_back(
          ReadAssigned(text.substr(at, end - at), std::string_view(text).substr(value)));
    }
    at = end;
  }
}

void AddShell(std::string_view text, std::vector<Setting>& settings) {
  const ShellText shell = SplitShell(text);
  const size_t before = settings.size();
  for (const std::vector<std::string>& command : shell.commands) AddOptions(command, settings);
  for (size_t i = before; i < settings.size(); ++i) settings[i].missing = shell.missing;
  AddAssignments(WithoutComments(text), settings);
}

// Walks YAML, of which JSON is a part. What an alias refers to is walked only once, so that its
// settings do not count as set twice.
class YamlSettings {
 public:
  explicit YamlSettings(std::vector<Setting>& settings) : settings_(settings) {}

  void Add(const YAML::Node& node) {
    if (node.IsScalar()) return AddShell(node.Scalar(), settings_);
    if ((!node.IsMap() && !node.IsSequence()) || !seen_.insert(node.Mark().pos).second) return;
    if (node.IsSequence()) return AddSequence(node);
    AddNamedValue(node);
    for (const auto& entry : node) {
      if (entry.first.IsScalar()) AddEntry(entry.first.Scalar(), entry.second);
      Add(entry.second);
    }
  }

 private:
  // Reads a sequence as the words of a command, as in `command: ["--kv-cache-dtype", "fp8"]`. An
  // item with blanks is read by itself, since it may be a whole command.
  void AddSequence(const YAML::Node& node) {
    std::vector<std::string> words;
    for (const YAML::Node& item : node) {
      const bool is_word =
          item.IsScalar() && item.Scalar().find_first_of(" \t\n") == std::string::npos;
      if (is_word) {
        words.push_back(item.Scalar());
        AddAssignments(item.Scalar(), settings_);
      } else {
        Add(item);
      }
    }
    AddOptions(words, settings_);
  }

  // Reads {name: NAME, value: ...}, which is how Kubernetes sets an environment variable.
  void AddNamedValue(const YAML::Node& node) {
    if (node["name"] && node["value"] && node["name"].IsScalar() && node["value"].IsScalar())
      AddEntry(node["name"].Scalar(), node["value"]);
  }

  void AddEntry(const std::string& name, const YAML::Node& value) {
    Setting setting{.name = name, .words = {}};
    if (value.IsScalar()) {
      setting.words.push_back(value.Scalar());
    } else if (value.IsSequence()) {
      for (const YAML::Node& item : value) {
        if (!item.IsScalar()) return;
        setting.words.push_back(item.Scalar());
      }
    } else if (!value.IsNull()) {
      return;
    }
    settings_.push_back(std::move(setting));
  }

  std::vector<Setting>& settings_;
  std::set<int> seen_;  // positions in the text of the nodes that were walked
};

// Shell text can be valid YAML by chance ("curl -H 'a: b'"). It is told from a configuration by its
// keys, since those of a configuration have no blanks.
bool IsConfiguration(const YAML::Node& node) {
  if (node.IsSequence()) return true;
  return node.IsMap() && std::all_of(node.begin(), node.end(), [](const auto& entry) {
           return entry.first.IsScalar() &&
                  entry.first.Scalar().find_first_of(" \t\n") == std::string::npos;
         });
}

// The documents of a text, which lines of "---" separate. YAML::LoadAll could split them too, but
// it never returns when a document begins with a comma or a closing bracket.
std::vector<std::string> DocumentsOf(std::string_view content) {
  std::vector<std::string> documents = {""};
  std::istringstream lines{std::string(content)};
  for (std::string line; std::getline(lines, line);) {
    const bool begins = line.starts_with("---") && (line.size() == 3 || IsSpace(line[3]));
    if (begins) documents.emplace_back();
    documents.back() += line.substr(begins ? 3 : 0) + '\n';
  }
  return documents;
}

// The documents as YAML. Returns none when any of them is no configuration.
std::vector<YAML::Node> LoadDocuments(std::string_view content) {
  std::vector<YAML::Node> documents;
  try {
    for (const std::string& text : DocumentsOf(content)) {
      documents.push_back(YAML::Load(text));
      if (documents.back().IsNull()) {
        documents.pop_back();
      } else if (!IsConfiguration(documents.back()) || !IsOneYamlDocument(text)) {
        return {};
      }
    }
  } catch (const YAML::Exception&) {
    return {};
  }
  return documents;
}

}  // namespace

EngineSettings::EngineSettings(std::string_view content, std::string source)
    : source_(std::move(source)) {
  const std::vector<YAML::Node> documents = LoadDocuments(content);
  for (const YAML::Node& document : documents) YamlSettings(settings_).Add(document);
  if (documents.empty()) AddShell(content, settings_);
}

bool EngineSettings::Has(std::initializer_list<std::string_view> names) const {
  return std::ranges::any_of(settings_, [&](const Setting& setting) {
    return std::ranges::any_of(
        names, [&](std::string_view name) { return IsSameName(setting.name, name); });
  });
}

const Setting* EngineSettings::Find(std::initializer_list<std::string_view> names) const {
  const Setting* found = nullptr;
  for (const Setting& setting : settings_) {
    for (const std::string_view name : names) {
      if (!IsSameName(setting.name, name)) continue;
      if (found) Fail(setting, "found twice, expected once");
      found = &setting;
    }
  }
  if (found && !found->missing.empty())
    Fail(*found, fmt::format("found a text that ends without {}", found->missing));
  return found;
}

std::optional<std::string> EngineSettings::Word(
    std::initializer_list<std::string_view> names) const {
  const Setting* setting = Find(names);
  if (!setting) return std::nullopt;
  // Several words are allowed behind an option of a command line, because those after the first are
  // arguments of the command.
  if (setting->words.empty() || (setting->words.size() > 1 && !setting->is_option))
    Fail(*setting, fmt::format("found {} words, expected one", setting->words.size()));
  return setting->words.front();
}

std::vector<std::string> EngineSettings::Words(
    std::initializer_list<std::string_view> names) const {
  const Setting* setting = Find(names);
  return setting ? setting->words : std::vector<std::string>();
}

bool EngineSettings::IsOn(std::initializer_list<std::string_view> names) const {
  const Setting* setting = Find(names);
  if (!setting) return false;
  if (setting->is_switch) return true;
  const std::string word = setting->words.size() == 1 ? setting->words.front() : "";
  for (const std::string_view yes : {"true", "True", "1", "yes", "on"}) {
    if (word == yes) return true;
  }
  for (const std::string_view no : {"false", "False", "0", "no", "off"}) {
    if (word == no) return false;
  }
  Fail(*setting, fmt::format("found \"{}\", expected true or false", word));
}

void EngineSettings::Fail(const Setting& setting, const std::string& found_and_expected) const {
  throw Error(fmt::format("{}: {}: {}", source_, setting.name, found_and_expected));
}

std::string WithoutComments(std::string_view content) {
  std::string text;
  char quote = 0;  // the quote that is open, 0 for none; every quote ends with its line
  for (size_t at = 0; at < content.size();) {
    const char c = content[at];
    const std::string_view triple = content.substr(at, 3);
    // Python's text over several lines, mostly documentation
    if (!quote && (triple == "\"\"\"" || triple == "'''")) {
      at = std::min(content.find(triple, at + 3), content.size());
      at = std::min(at + 3, content.size());
      continue;
    }
    if (!quote && c == '#') {
      at = std::min(content.find('\n', at), content.size());
      continue;
    }
    if (c == '\n' || c == quote) {
      quote = 0;
    } else if (!quote && (c == '"' || c == '\'')) {
      quote = c;
    } else if (c == '\\' && at + 1 < content.size() && content[at + 1] != '\n') {
      text += c;
      ++at;
    }
    text += content[at++];
  }
  return text;
}

}  // namespace kvtune
