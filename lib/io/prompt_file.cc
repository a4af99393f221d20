#include "lib/io/prompt_file.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "lib/base/error.h"
#include "lib/base/file.h"
#include "lib/base/json_fields.h"

namespace kvtune {
namespace {

namespace fs = std::filesystem;

// The command that turns the file's chats into texts. It quotes what a shell would split.
std::string RenderCommand(const fs::path& file, const fs::path& model_directory) {
  const auto word = [](const std::string& text) {
    constexpr std::string_view kPlain =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./+=:,@";
    if (text.find_first_not_of(kPlain) == std::string::npos) return text;
    std::string quoted = "'";
    for (const char c : text) quoted += c == '\'' ? "'\\''" : std::string(1, c);
    return quoted + "'";
  };
  fs::path out = file.filename();
  out.replace_extension(".text.jsonl");
  return fmt::format("scripts/render_chat.py --model {} {} --out {}",
                     word(model_directory.string()), word(file.string()), word(out.string()));
}

RawPrompt ReadLine(std::string_view line, const std::string& where, const fs::path& file,
                   const fs::path& model_directory) {
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
    fields.Fail("messages",
                fmt::format("found a chat, expected \"text\", which this makes of it: {}",
                            RenderCommand(file, model_directory)));
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

std::vector<RawPrompt> ReadPromptFile(const fs::path& path, const fs::path& model_directory) {
  const std::string content = ReadFile(path);
  std::vector<RawPrompt> prompts;
  if (path.extension() != ".jsonl") {
    if (!IsBlank(content)) prompts.push_back({content, {}, path.string(), true});
  } else {
    std::string_view rest = content;
    for (int line_number = 1; !rest.empty(); ++line_number) {
      const size_t end = rest.find('\n');
      const std::string_view line = rest.substr(0, end);
      rest = end == std::string_view::npos ? std::string_view() : rest.substr(end + 1);
      const std::string where = fmt::format("{}, line {}", path.string(), line_number);
      if (!IsBlank(line)) prompts.push_back(ReadLine(line, where, path, model_directory));
    }
  }
  if (prompts.empty()) {
    throw Error(
        fmt::format("reading prompts from {}: found none, expected at least one", path.string()));
  }
  return prompts;
}

}  // namespace kvtune
