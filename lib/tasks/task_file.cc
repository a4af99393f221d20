#include "lib/tasks/task_file.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <utility>

#include "lib/base/error.h"
#include "lib/base/file.h"
#include "lib/base/split.h"
#include "lib/core/schema.h"
#include "lib/tasks/item_reader.h"

namespace kvtune {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kMostNewTokens = 1 << 20;

void AddItems(Task& task, const std::vector<Row>& rows, const std::string& prompt_template = "") {
  for (const Row& row : rows) task.items.push_back(ReadItem(row, task.protocol, prompt_template));
}

// How many lines of a text of shots begin a question.
int64_t QuestionsOf(std::string_view text) {
  int64_t questions = text.starts_with("Q: ") ? 1 : 0;
  for (size_t at = 0; (at = text.find("\nQ: ", at)) != std::string_view::npos; ++at) ++questions;
  return questions;
}

// The shots of gsm8k_cot are eight texts that come as one: used as it stands, but for its ends.
void ReadShotText(Task& task, std::string_view content, const std::string& source) {
  const std::string_view whole = WithoutByteOrderMark(content);
  const std::string_view text = whole.substr(0, whole.find_last_not_of(" \t\r\n") + 1);
  const int64_t questions = QuestionsOf(text);
  if (questions == 0) {
    throw Error(fmt::format("{}: found no line that begins with \"Q: \", expected solved questions",
                            source));
  }
  task.fewshot = questions;
  task.shot_text = std::string(text) + "\n\n";
}

void ReadShots(Task& task, JsonFields& fields, const fs::path& folder) {
  const fs::path path = folder / fields.String("shots");
  task.files.push_back(path);
  const std::string content = ReadFile(path);
  if (task.protocol == Protocol::kGsm8kCot && path.extension() == ".txt")
    return ReadShotText(task, content, path.string());
  for (const Row& row : ParseRows(content, path.string()))
    task.shots.push_back(ReadShot(row, task.protocol));
}

// The value of a word in a file. (ValueOf is for words of the command line.)
template <typename Table>
auto ReadWord(JsonFields& fields, std::string_view key, const Table& table) {
  const std::string word = fields.String(key);
  for (const auto& entry : table) {
    if (entry.word == word) return entry.value;
  }
  fields.Fail(
      key, fmt::format("found \"{}\", expected one of {}", word, fmt::join(WordsOf(table), ", ")));
}

// lm-evaluation-harness has an argument for it, whatever the task.
void ReadMaxNewTokens(Task& task, JsonFields& fields) {
  if (task.is_multiple_choice() || !fields.Has("max_new_tokens")) return;
  task.max_new_tokens = fields.Integer("max_new_tokens");
  if (task.max_new_tokens < 1 || task.max_new_tokens > kMostNewTokens) {
    fields.Fail("max_new_tokens", fmt::format("found {}, expected a number from 1 to {}",
                                              task.max_new_tokens, kMostNewTokens));
  }
}

// The keys that only a protocol without fixed rules has.
void ReadOwnRules(Task& task, JsonFields& fields) {
  if (fields.Has("stop")) task.stops = fields.Strings("stop");
  if (task.protocol == Protocol::kContains) {
    if (fields.Has("match")) task.reference_rule = ReadWord(fields, "match", kReferenceRuleWords);
    return;
  }
  if (fields.Has("which") && !fields.Has("extract"))
    fields.Fail("which", "found it without \"extract\", expected both");
  if (!fields.Has("extract")) return;
  Extraction extraction{.pattern = fields.String("extract")};
  if (fields.Has("which")) extraction.which = ReadWord(fields, "which", kWhichMatchWords);
  task.strict = task.flexible = extraction;
}

Task ReadTask(const Json& json, const fs::path& path) {
  JsonFields fields(json, path.string());
  if (fields.Has("schema_version")) {
    const int64_t version = fields.Integer("schema_version");
    if (version != kSchemaVersion) {
      fields.Fail("schema_version", fmt::format("found {}, expected {}", version, kSchemaVersion));
    }
  }
  Task task = TaskOfProtocol(ReadWord(fields, "protocol", kProtocolWords));
  task.name = fields.Has("name") ? fields.String("name") : path.stem().string();
  ReadMaxNewTokens(task, fields);
  if (task.protocol == Protocol::kCustom || task.protocol == Protocol::kContains)
    ReadOwnRules(task, fields);
  std::string prompt_template;
  if (task.protocol == Protocol::kCustom && fields.Has("template"))
    prompt_template = fields.String("template");
  if (HasShots(task.protocol)) {
    if (fields.Has("shots")) ReadShots(task, fields, path.parent_path());
    if (fields.Has("fewshot")) task.fewshot = fields.Integer("fewshot");
    if (task.fewshot < 0)
      fields.Fail("fewshot", fmt::format("found {}, expected 0 or more", task.fewshot));
  }
  const Json& items = fields.Value("items");
  if (items.is_string()) {
    const fs::path file = path.parent_path() / items.get<std::string>();
    task.files.push_back(file);
    AddItems(task, ParseRows(ReadFile(file), file.string()), prompt_template);
  } else {
    AddItems(task, RowsOfArray(items, path.string() + ": \"items\""), prompt_template);
  }
  fields.RequireNoOthers();
  return task;
}

Task TaskOfRows(const std::vector<Row>& rows, const fs::path& path) {
  if (rows.empty())
    throw Error(fmt::format("task {}: found no items, expected some", path.string()));
  const std::optional<Protocol> protocol = ProtocolOfRow(rows.front().json);
  if (!protocol) {
    throw Error(fmt::format(
        "{}: found a row of no known data set, expected \"question\" and \"answer\", \"prompt\" "
        "and \"references\" or \"choices\", or a task file with \"protocol\" and \"items\"",
        rows.front().where));
  }
  Task task = TaskOfProtocol(*protocol);
  task.name = path.stem().string();
  AddItems(task, rows);
  return task;
}

// A task is one object; a single row is an object too, but names no items.
bool IsTask(const Json& json) {
  return json.is_object() && (json.contains("protocol") || json.contains("items"));
}

void RequireShots(const Task& task, const std::string& where) {
  if (!task.shot_text.empty()) {
    const int64_t held = QuestionsOf(task.shot_text);
    if (task.fewshot == 0 || task.fewshot == held) return;
    throw Error(fmt::format("{}: found a text of {} shots, expected {} as \"fewshot\" says", where,
                            held, task.fewshot));
  }
  const auto found = static_cast<int64_t>(task.shots.size());
  if (task.fewshot > found) {
    throw Error(fmt::format(
        "{}: found {} shots, expected at least {}: \"shots\" names a file of solved questions, and "
        "--fewshot 0 does without",
        where, found, task.fewshot));
  }
}

// A question whose answer stands in front of it measures nothing.
void RequireShotsApart(const Task& task, const std::string& where) {
  std::set<std::string_view> questions;
  for (const Shot& shot : task.shots) questions.insert(shot.question);
  for (size_t i = 0; i < task.items.size(); ++i) {
    if (task.fewshot > 0 && questions.contains(task.items[i].prompt)) {
      throw Error(fmt::format("{}: found item {} among the shots, expected other questions there",
                              where, i + 1));
    }
  }
}

}  // namespace

Task LoadTask(const fs::path& path, const TaskOverrides& overrides) {
  return ParseTask(ReadFile(path), path, overrides);
}

Task ParseTask(std::string_view content, const fs::path& path, const TaskOverrides& overrides) {
  content = WithoutByteOrderMark(content);
  std::optional<Json> whole = TryParseJson(content, path.string());
  const bool is_lines =
      !whole && TryParseJson(content.substr(0, content.find('\n')), path.string()).has_value();
  if (!whole && !is_lines) whole = ParseJson(content, path.string());  // says what is wrong with it
  Task task;
  if (whole && IsTask(*whole)) {
    task = ReadTask(*whole, path);
  } else if (whole && whole->is_object()) {
    task = TaskOfRows({{*whole, path.string()}}, path);
  } else {
    task = TaskOfRows(ParseRows(content, path.string()), path);
  }
  task.files.push_back(path);
  const std::string where = fmt::format("task {}", path.string());
  if (task.items.empty()) throw Error(fmt::format("{}: found no items, expected some", where));
  if (overrides.fewshot) {
    if (!HasShots(task.protocol) && *overrides.fewshot > 0) {
      throw Error(fmt::format("{}: found --fewshot {}, expected none: prompts of {} are complete",
                              where, *overrides.fewshot, WordOf(kProtocolWords, task.protocol)),
                  ExitCode::kUsage);
    }
    task.fewshot = *overrides.fewshot;
  }
  if (HasShots(task.protocol)) {
    RequireShots(task, where);
    RequireShotsApart(task, where);
  }
  const auto items = static_cast<int64_t>(task.items.size());
  if (overrides.limit > 0 && overrides.limit < items)
    task.items.resize(static_cast<size_t>(overrides.limit));
  return task;
}

}  // namespace kvtune
