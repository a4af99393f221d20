#include "lib/io/prompt_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "lib/base/error.h"
#include "lib/base/file.h"
#include "lib/base/json_fields.h"
#include "lib/base/log.h"
#include "lib/base/split.h"
#include "lib/io/chat_renderer.h"
#include "lib/io/compression.h"
#include "lib/io/prompt_record.h"

namespace kvtune {
namespace {

namespace fs = std::filesystem;

bool IsBlank(std::string_view text) {
  return text.find_first_not_of(" \t\r\n") == std::string_view::npos;
}

// Takes the first line off `rest`.
std::string_view NextLine(std::string_view& rest) {
  const size_t end = rest.find('\n');
  const std::string_view line = rest.substr(0, end);
  rest = end == std::string_view::npos ? std::string_view() : rest.substr(end + 1);
  return line;
}

std::string_view NextFullLine(std::string_view& rest) {
  while (!rest.empty()) {
    if (const std::string_view line = NextLine(rest); !IsBlank(line)) return line;
  }
  return {};
}

char FirstCharacter(std::string_view text) {
  const size_t first = text.find_first_not_of(" \t\r\n");
  return first == std::string_view::npos ? '\0' : text[first];
}

// The suffix in small letters, without that of a compression.
std::string Suffix(const fs::path& path) {
  const auto lower = [](std::string text) {
    std::ranges::transform(text, text.begin(), [](unsigned char c) { return std::tolower(c); });
    return text;
  };
  std::string suffix = lower(path.extension().string());
  return suffix == ".gz" || suffix == ".zst" ? lower(path.stem().extension().string()) : suffix;
}

bool IsJsonSuffix(std::string_view suffix) {
  return suffix == ".jsonl" || suffix == ".ndjson" || suffix == ".jsonlines" || suffix == ".json";
}

// Forms that hold prompts but are no text. Each is refused with the command that converts it.
void RefuseOtherContainers(std::string_view content, const fs::path& path) {
  const auto refuse = [&](std::string_view found, const std::string& command) {
    throw Error(fmt::format("reading prompts from {}: found {}, expected JSON lines or text: {}",
                            path.string(), found, command));
  };
  fs::path plain = path;
  if (content.starts_with("PAR1")) {
    plain.replace_extension(".jsonl");
    refuse("a Parquet file",
           fmt::format("python3 -c \"import pandas; pandas.read_parquet('{}').to_json('{}', "
                       "orient='records', lines=True)\" converts it",
                       path.string(), plain.string()));
  }
  if (content.starts_with("version https://git-lfs")) {
    refuse("a Git LFS pointer", "git lfs pull fetches the file itself");
  }
  if (content.starts_with("\xff\xfe") || content.starts_with("\xfe\xff")) {
    refuse("UTF-16", fmt::format("iconv -f UTF-16 -t UTF-8 {} converts it", path.string()));
  }
}

// A text whose lines are objects, or that is an array of them, is JSON under a wrong name. Scored
// as prose it would measure braces and keys.
bool LooksLikeJson(std::string_view content, const fs::path& path) {
  const char first = FirstCharacter(content);
  if (first != '{' && first != '[') return false;
  std::string_view rest = content;
  const std::string_view line = NextFullLine(rest);
  if (first == '{' && Json::accept(line)) {
    const char next = FirstCharacter(rest);
    return next == '{' || next == '\0';
  }
  if (!Json::accept(content)) return false;
  const Json whole = ParseJson(content, path.string());
  return whole.is_object() || std::ranges::any_of(whole, [](const Json& v) {
           return v.is_structured() || v.is_string();
         });
}

// Prompts of one file. Chats among them are rendered together, when all are known.
struct PromptList {
  std::vector<RawPrompt> prompts;
  std::vector<Chat> chats;
  std::vector<size_t> chat_places;  // in `prompts`

  void Add(const Json& record, const std::string& where, PromptRecords& records) {
    const bool has_prompt = record.contains("text") || record.contains("input_ids");
    if (records.has_template() || has_prompt || !IsChat(record)) {
      prompts.push_back(records.Read(record, where));
      return;
    }
    chat_places.push_back(prompts.size());
    chats.push_back({record.dump(), where});
    prompts.push_back({.text = {}, .token_ids = {}, .where = where, .has_special_tokens = true});
  }

  void Render(const fs::path& path, const fs::path& model_directory) {
    if (chats.empty()) return;
    std::vector<std::string> texts = RenderChats(chats, model_directory);
    for (size_t i = 0; i < texts.size(); ++i) prompts[chat_places[i]].text = std::move(texts[i]);
    LogInfo(fmt::format("{}: {} chats, rendered with the model's chat template", path.string(),
                        chats.size()));
  }
};

PromptList ReadLines(std::string_view content, const fs::path& path, PromptRecords& records) {
  PromptList prompts;
  for (size_t number = 1; !content.empty(); ++number) {
    const std::string_view line = NextLine(content);
    if (IsBlank(line)) continue;
    const std::string where = fmt::format("{}, line {}", path.string(), number);
    prompts.Add(ParseJsonLine(line, where), where, records);
  }
  return prompts;
}

// One array or one object over any number of lines.
PromptList ReadWhole(std::string_view content, const fs::path& path, PromptRecords& records) {
  const Json whole = ParseJson(content, path.string());
  PromptList prompts;
  if (!whole.is_array() || IsChat(whole)) {
    prompts.Add(whole, path.string(), records);
    return prompts;
  }
  for (const Json& entry : whole) {
    const std::string where =
        fmt::format("{}, entry {}", path.string(), prompts.prompts.size() + 1);
    if (entry.is_string()) {
      prompts.prompts.push_back(
          {.text = entry.get<std::string>(), .token_ids = {}, .where = where});
    } else {
      prompts.Add(entry, where, records);
    }
  }
  return prompts;
}

PromptList ReadJsonPrompts(std::string_view content, const fs::path& path, PromptRecords& records) {
  std::string_view rest = content;
  const std::string_view first = NextFullLine(rest);
  const bool is_one_line = IsBlank(rest);
  const bool is_array = FirstCharacter(first) == '[';
  // A whole array or object either fills the only line or goes on behind the first.
  const bool is_whole = is_one_line ? is_array && Json::accept(content)
                                    : !Json::accept(first) && (is_array || Json::accept(content));
  return is_whole ? ReadWhole(content, path, records) : ReadLines(content, path, records);
}

}  // namespace

std::vector<RawPrompt> ReadPromptFile(const fs::path& path, const fs::path& model_directory,
                                      const std::string& prompt_template) {
  return ParsePrompts(ReadFile(path), path, model_directory, prompt_template);
}

std::vector<RawPrompt> ParsePrompts(std::string_view content, const fs::path& path,
                                    const fs::path& model_directory,
                                    const std::string& prompt_template) {
  std::string unpacked;
  const bool is_compressed = IsCompressed(content);
  if (is_compressed) content = unpacked = Decompress(content, path.string());
  RefuseOtherContainers(content, path);
  content = WithoutByteOrderMark(content);

  std::vector<RawPrompt> prompts;
  PromptRecords records(path, prompt_template);
  if (IsJsonSuffix(Suffix(path))) {
    PromptList list = ReadJsonPrompts(content, path, records);
    list.Render(path, model_directory);
    prompts = std::move(list.prompts);
  } else if (LooksLikeJson(content, path)) {
    throw Error(fmt::format(
        "reading prompts from {}: found JSON, expected text: name the file {} to have its prompts "
        "read",
        path.string(),
        fs::path(path.filename())
            .replace_extension(is_compressed ? ".jsonl" + path.extension().string() : ".jsonl")
            .string()));
  } else if (!IsBlank(content)) {
    if (!prompt_template.empty()) {
      throw Error(
          fmt::format("reading prompts from {}: found plain text, expected JSON with the keys of "
                      "--prompt-template",
                      path.string()));
    }
    prompts.push_back({.text = std::string(content),
                       .token_ids = {},
                       .where = path.string(),
                       .is_document = true});
  }
  if (prompts.empty()) {
    throw Error(
        fmt::format("reading prompts from {}: found none, expected at least one", path.string()));
  }
  return prompts;
}

}  // namespace kvtune
