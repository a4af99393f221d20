#include "lib/tasks/item_reader.h"

#include <fmt/format.h>

#include <utility>

#include "lib/base/error.h"
#include "lib/base/split.h"

namespace kvtune {
namespace {

bool IsBlank(std::string_view text) {
  return text.find_first_not_of(" \t\r\n") == std::string_view::npos;
}

bool HasString(const Json& json, const char* key) {
  return json.is_object() && json.contains(key) && json[key].is_string();
}

// A line of the samples that lm-evaluation-harness logs keeps the row of the data set in "doc".
bool IsHarnessSample(const Json& json) {
  return json.is_object() && json.contains("doc") && json["doc"].is_object();
}

const Json& DocumentOf(const Json& json) { return IsHarnessSample(json) ? json["doc"] : json; }

// An answer may be a number.
std::string TextOf(JsonFields& fields, std::string_view key) {
  const Json& value = fields.Value(key);
  if (value.is_string()) return value.get<std::string>();
  if (value.is_number_integer()) return value.dump();
  fields.Fail(key, fmt::format("found {}, expected a text", value.dump()));
}

// "{{" and "}}" stand for braces.
std::string Filled(const std::string& prompt_template, JsonFields& fields) {
  std::string text;
  for (size_t i = 0; i < prompt_template.size(); ++i) {
    const char c = prompt_template[i];
    if ((c == '{' || c == '}') && i + 1 < prompt_template.size() && prompt_template[i + 1] == c) {
      text += c;
      ++i;
    } else if (const size_t end = prompt_template.find('}', i);
               c == '{' && end != std::string::npos) {
      text += TextOf(fields, prompt_template.substr(i + 1, end - i - 1));
      i = end;
    } else {
      text += c;
    }
  }
  return text;
}

// The prompt that the harness sent: {"gen_args_0": {"arg_0": PROMPT, ...}} or [[PROMPT, ...]].
std::string HarnessPrompt(const Row& row) {
  const Json& arguments = row.json.value("arguments", Json());
  if (arguments.is_object() && arguments.contains("gen_args_0") &&
      HasString(arguments["gen_args_0"], "arg_0")) {
    return arguments["gen_args_0"]["arg_0"];
  }
  if (arguments.is_array() && !arguments.empty() && arguments[0].is_array() &&
      !arguments[0].empty() && arguments[0][0].is_string()) {
    return arguments[0][0];
  }
  throw Error(
      fmt::format("{}: \"arguments\": found no prompt, expected that of a sample of "
                  "lm-evaluation-harness",
                  row.where));
}

TaskItem ReadChoices(JsonFields& fields) {
  TaskItem item{.prompt = fields.String("prompt"), .choices = fields.Strings("choices")};
  const int64_t correct = fields.Integer("answer");
  if (item.choices.size() < 2) {
    fields.Fail("choices", fmt::format("found {}, expected at least 2", item.choices.size()));
  }
  for (const std::string& choice : item.choices) {
    if (choice.empty()) fields.Fail("choices", "found an empty one, expected texts");
  }
  if (correct < 0 || correct >= static_cast<int64_t>(item.choices.size())) {
    fields.Fail("answer", fmt::format("found {}, expected the index of one of the {} choices",
                                      correct, item.choices.size()));
  }
  item.correct_choice = static_cast<size_t>(correct);
  return item;
}

TaskItem ReadReferences(JsonFields& fields) {
  const bool is_ruler = fields.Has("outputs");
  const char* key = is_ruler ? "outputs" : "references";
  TaskItem item{.prompt = fields.String(is_ruler ? "input" : "prompt"),
                .references = fields.Strings(key)};
  if (item.references.empty()) fields.Fail(key, "found none, expected at least one");
  for (const std::string& reference : item.references) {
    if (reference.empty()) fields.Fail(key, "found an empty one, expected texts");
  }
  return item;
}

// GSM8K's solutions end with a line "#### 72".
std::string AfterMark(std::string answer) {
  const size_t mark = answer.rfind("####");
  if (mark == std::string::npos) return answer;
  answer.erase(0, mark + 4);
  const size_t first = answer.find_first_not_of(" \t\r\n");
  if (first == std::string::npos) return "";
  return answer.substr(first, answer.find_last_not_of(" \t\r\n") - first + 1);
}

// The harness logs every document once for each of its filters.
std::vector<Row> OfOneFilter(std::vector<Row> rows) {
  if (rows.empty() || !IsHarnessSample(rows.front().json) ||
      !HasString(rows.front().json, "filter"))
    return rows;
  const Json filter = rows.front().json["filter"];
  std::erase_if(rows, [&](const Row& row) {
    return HasString(row.json, "filter") && row.json["filter"] != filter;
  });
  return rows;
}

}  // namespace

std::vector<Row> RowsOfArray(const Json& array, const std::string& where) {
  if (!array.is_array())
    throw Error(fmt::format("{}: found no array, expected one of objects", where));
  std::vector<Row> rows;
  for (size_t i = 0; i < array.size(); ++i) {
    rows.push_back({array[i], fmt::format("{}, entry {}", where, i + 1)});
  }
  return OfOneFilter(std::move(rows));
}

std::vector<Row> ParseRows(std::string_view content, const std::string& source) {
  content = WithoutByteOrderMark(content);
  const size_t first = content.find_first_not_of(" \t\r\n");
  if (first != std::string_view::npos && content[first] == '[')
    return RowsOfArray(ParseJson(content, source), source);
  std::vector<Row> rows;
  for (size_t number = 1; !content.empty(); ++number) {
    const size_t end = content.find('\n');
    const std::string_view line = content.substr(0, end);
    content = end == std::string_view::npos ? std::string_view() : content.substr(end + 1);
    if (IsBlank(line)) continue;
    const std::string where = fmt::format("{}, line {}", source, number);
    rows.push_back({ParseJsonLine(line, where), where});
  }
  return OfOneFilter(std::move(rows));
}

std::optional<Protocol> ProtocolOfRow(const Json& row) {
  const Json& json = DocumentOf(row);
  if (HasString(json, "question") && HasString(json, "answer")) return Protocol::kGsm8k;
  if (HasString(json, "input") && json.contains("outputs")) return Protocol::kContains;
  if (!HasString(json, "prompt")) return std::nullopt;
  if (json.contains("references")) return Protocol::kContains;
  if (json.contains("choices")) return Protocol::kMultipleChoice;
  return std::nullopt;
}

TaskItem ReadItem(const Row& row, Protocol protocol, const std::string& prompt_template) {
  JsonFields fields(DocumentOf(row.json), row.where);
  switch (protocol) {
    case Protocol::kMultipleChoice:
      return ReadChoices(fields);
    case Protocol::kContains:
      return ReadReferences(fields);
    case Protocol::kGsm8k:
    case Protocol::kVllmCi:
      return {.prompt = fields.String("question"), .answer = fields.String("answer")};
    case Protocol::kGsm8kCot:
      return {.prompt = fields.String("question"), .answer = AfterMark(fields.String("answer"))};
    case Protocol::kCustom:
      break;
  }
  if (!prompt_template.empty()) {
    std::string prompt = Filled(prompt_template, fields);
    return {.prompt = std::move(prompt), .answer = TextOf(fields, "answer")};
  }
  if (IsHarnessSample(row.json) && !fields.Has("prompt")) {
    JsonFields sample(row.json, row.where);
    return {.prompt = HarnessPrompt(row), .answer = TextOf(sample, "target")};
  }
  return {.prompt = fields.String("prompt"), .answer = TextOf(fields, "answer")};
}

Shot ReadShot(const Row& row, Protocol protocol) {
  JsonFields fields(DocumentOf(row.json), row.where);
  std::string question = fields.String("question");
  if (fields.Has("target")) return {std::move(question), fields.String("target")};
  std::string answer = fields.String("answer");
  if (protocol == Protocol::kGsm8kCot) answer = AfterMark(std::move(answer));
  return {std::move(question), std::move(answer)};
}

}  // namespace kvtune
