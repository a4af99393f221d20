#include "lib/io/prompt_record.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <span>

#include "lib/base/error.h"
#include "lib/base/log.h"
#include "lib/base/printable.h"

namespace kvtune {
namespace {

// A record of a data set that people calibrate with. A template names keys in braces.
struct KnownShape {
  std::string_view name;
  std::string_view prompt_template;
};

// In this order: a record has the shape of the first whose keys it all has.
constexpr KnownShape kKnownShapes[] = {
    {"HumanEval", "{prompt}{canonical_solution}"},
    {"LongBench", "{context}\n\n{input}\n{answers}"},
    {"RULER", "{input}{answer_prefix} {outputs}"},
    {"RULER", "{input} {outputs}"},
    {"GSM8K", "Question: {question}\nAnswer: {answer}"},
    {"MT-Bench", "{turns}"},
};

std::string KeysOf(const Json& json) {
  std::vector<std::string> keys;
  for (const auto& item : json.items()) keys.push_back(item.key());
  return keys.empty() ? "no keys" : fmt::format("the keys {}", fmt::join(keys, ", "));
}

// A part of a template: text as it stands, or the key of a field.
struct TemplatePart {
  std::string text;
  bool is_key = false;
};

// Doubled braces stand for one, as in Python's format strings. A single brace that encloses no key
// is text.
std::vector<TemplatePart> ParseTemplate(std::string_view source) {
  std::vector<TemplatePart> parts = {{}};
  for (size_t i = 0; i < source.size(); ++i) {
    const char c = source[i];
    if ((c == '{' || c == '}') && i + 1 < source.size() && source[i + 1] == c) {
      parts.back().text += c;
      ++i;
      continue;
    }
    const size_t end = c == '{' ? source.find_first_of("{}\n", i + 1) : std::string_view::npos;
    if (end == std::string_view::npos || source[end] != '}' || end == i + 1) {
      parts.back().text += c;
      continue;
    }
    parts.push_back({std::string(source.substr(i + 1, end - i - 1)), true});
    parts.push_back({});
    i = end;
  }
  return parts;
}

std::vector<std::string> KeysOf(const std::vector<TemplatePart>& parts) {
  std::vector<std::string> keys;
  for (const TemplatePart& part : parts) {
    if (part.is_key) keys.push_back(part.text);
  }
  return keys;
}

// A field's text. Lists of texts are joined by blank lines: the turns of a user, or answers.
std::string FieldText(const Json& json, const std::string& key, const std::string& where) {
  const Json& value = json.at(key);
  if (value.is_string()) return value.get<std::string>();
  if (value.is_number() || value.is_boolean()) return value.dump();
  if (value.is_array() && std::ranges::all_of(value, [](const Json& v) { return v.is_string(); })) {
    return fmt::format("{}", fmt::join(value.get<std::vector<std::string>>(), "\n\n"));
  }
  throw Error(fmt::format("{}: \"{}\": found {}, expected a text or a list of texts", where, key,
                          value.type_name()));
}

std::string FillParts(const std::vector<TemplatePart>& parts, const Json& json,
                      const std::string& where) {
  std::string text;
  for (const TemplatePart& part : parts) {
    text += part.is_key ? FieldText(json, part.text, where) : part.text;
  }
  return text;
}

std::vector<int32_t> TokenIdsOf(JsonFields& fields) {
  std::vector<int32_t> ids;
  for (const int64_t id : fields.Integers("input_ids")) {
    if (id < 0 || id > INT32_MAX)
      fields.Fail("input_ids", fmt::format("found {}, expected token ids", id));
    ids.push_back(static_cast<int32_t>(id));
  }
  if (ids.empty()) fields.Fail("input_ids", "found an empty array, expected token ids");
  return ids;
}

}  // namespace

PromptRecords::PromptRecords(std::filesystem::path file, std::string prompt_template)
    : file_(std::move(file)), template_(std::move(prompt_template)) {
  // A shell passes \n on as two characters, where the template's author means a line's end.
  for (size_t at = 0; (at = template_.find("\\n", at)) != std::string::npos; ++at) {
    template_.replace(at, 2, "\n");
  }
  if (!template_.empty() && KeysOf(ParseTemplate(template_)).empty()) {
    throw Error(fmt::format(
        "--prompt-template: found no key in \"{}\", expected one in braces such as {{question}}",
        template_));
  }
}

std::string PromptRecords::Fill(const Json& json, const std::string& where) const {
  const std::vector<TemplatePart> parts = ParseTemplate(template_);
  for (const std::string& key : KeysOf(parts)) {
    if (!json.contains(key)) {
      throw Error(fmt::format("{}: found {}, expected \"{}\" as --prompt-template names it", where,
                              KeysOf(json), key));
    }
  }
  return FillParts(parts, json, where);
}

bool PromptRecords::ReadKnownShape(const Json& json, const std::string& where, std::string& text) {
  for (const KnownShape& shape : kKnownShapes) {
    const std::vector<TemplatePart> parts = ParseTemplate(shape.prompt_template);
    const std::vector<std::string> keys = KeysOf(parts);
    if (!std::ranges::all_of(keys, [&](const std::string& key) { return json.contains(key); }))
      continue;
    text = FillParts(parts, json, where);
    if (said_ != shape.name) {
      said_ = shape.name;
      LogInfo(fmt::format("{}: read as {} ({}); --prompt-template joins them in another way",
                          file_.string(), shape.name, fmt::join(keys, ", ")));
    }
    return true;
  }
  return false;
}

RawPrompt PromptRecords::Read(const Json& json, const std::string& where) {
  if (json.is_array()) {
    throw Error(
        fmt::format("{}: found an array, expected an object such as {{\"text\": "
                    "\"...\"}} or {{\"input_ids\": [...]}}, or the messages of a chat",
                    where));
  }
  JsonFields fields(json, where);
  RawPrompt prompt;
  prompt.where = where;
  if (!template_.empty()) {
    prompt.text = Fill(json, where);
  } else if (fields.Has("input_ids")) {
    prompt.token_ids = TokenIdsOf(fields);
  } else if (json.contains("text")) {
    prompt.text = fields.String("text");
    prompt.has_special_tokens =
        fields.Has("add_special_tokens") && !fields.Bool("add_special_tokens");
  } else if (!ReadKnownShape(json, where, prompt.text)) {
    throw Error(
        fmt::format("{}: found {}, expected \"text\" or \"input_ids\", or --prompt-template "
                    "that names keys in braces",
                    where, KeysOf(json)));
  }
  return prompt;
}

}  // namespace kvtune
