#include "lib/io/prompt_file.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "lib/base/error.h"
#include "lib/base/file.h"
#include "lib/base/json_fields.h"

namespace kvtune {
namespace {

namespace fs = std::filesystem;

RawPrompt ReadLine(std::string_view line, const std::string& where) {
  const Json json = ParseJson(line, where);
  JsonFields fields(json, where);
  RawPrompt prompt;
  prompt.where = where;
  if (fields.Has("input_ids")) {
    for (const int64_t id : fields.Integers("input_ids")) {
      if (id < 0 || id > INT32_MAX)
        fields.Fail("input_ids", fmt::format("found {}, expected token ids", id));
      prompt.token_ids.push_back(static_cast<int32_t>(id));
    }
    if (prompt.token_ids.empty())
      fields.Fail("input_ids", "found an empty array, expected token ids");
  } else if (fields.Has("text")) {
    prompt.text = fields.String("text");
  } else if (fields.Has("messages")) {
    fields.Fail(
        "messages",
        "found chat messages, expected \"text\": render them with the model's chat template first");
  } else {
    const std::vector<std::string> keys = fields.Keys();
    const std::string found =
        keys.empty() ? "no keys" : fmt::format("the keys {}", fmt::join(keys, ", "));
    throw Error(fmt::format("{}: found {}, expected \"text\" or \"input_ids\"", where, found));
  }
  return prompt;
}

bool IsBlank(std::string_view text) {
  return text.find_first_not_of(" \t\r\n") == std::string_view::npos;
}

}  // namespace

std::vector<RawPrompt> ReadPromptFile(const fs::path& path) {
  const std::string content = ReadFile(path);
  std::vector<RawPrompt> prompts;
  if (path.extension() != ".jsonl") {
    if (!IsBlank(content)) prompts.push_back({content, {}, path.string()});
  } else {
    std::string_view rest = content;
    for (int line_number = 1; !rest.empty(); ++line_number) {
      const size_t end = rest.find('\n');
      const std::string_view line = rest.substr(0, end);
      rest = end == std::string_view::npos ? std::string_view() : rest.substr(end + 1);
      if (!IsBlank(line))
        prompts.push_back(ReadLine(line, fmt::format("{}, line {}", path.string(), line_number)));
    }
  }
  if (prompts.empty()) {
    throw Error(
        fmt::format("reading prompts from {}: found none, expected at least one", path.string()));
  }
  return prompts;
}

}  // namespace kvtune
