#include "lib/base/json_fields.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "lib/base/error.h"
#include "lib/base/file.h"
#include "lib/base/json_depth.h"

namespace kvtune {
namespace {

// A short rendering of what was found, for messages.
std::string Brief(const Json& value) {
  std::string text = value.dump(-1, ' ', false, Json::error_handler_t::replace);
  constexpr size_t kMaxLength = 60;
  if (text.size() > kMaxLength) text = text.substr(0, kMaxLength) + "...";
  return text;
}

// nlohmann/json would let an unsigned value that is too large wrap around.
bool FitsInt64(const Json& value) {
  return value.is_number_integer() &&
         (!value.is_number_unsigned() || value.get<uint64_t>() <= INT64_MAX);
}

// Returns "line 3, column 7", for example, of a byte offset.
std::string Position(std::string_view text, size_t offset) {
  offset = std::min(offset, text.size());
  const std::string_view before = text.substr(0, offset);
  const auto line = std::count(before.begin(), before.end(), '\n') + 1;
  const size_t line_start = before.rfind('\n');
  const size_t column = line_start == std::string_view::npos ? offset : offset - line_start - 1;
  return fmt::format("line {}, column {}", line, std::max<size_t>(column, 1));
}

// The word that Python writes for a number that JSON does not have, where one stands at the
// one-based offset of a mistake; otherwise empty.
std::string_view NonFiniteAt(std::string_view text, size_t byte) {
  const std::string_view rest = text.substr(std::min(byte > 0 ? byte - 1 : 0, text.size()));
  for (const std::string_view word : {"NaN", "Infinity"}) {
    if (rest.starts_with(word)) return word;
  }
  return {};
}

// Remembers the keys of the objects being read, in order to refuse the second of two equal ones.
// nlohmann/json would silently let it win.
class DuplicateKeyCheck {
 public:
  explicit DuplicateKeyCheck(const std::string& source) : source_(source) {}

  bool operator()(int depth, Json::parse_event_t event, Json& parsed) {
    if (depth > kDeepestJson) {
      throw Error(fmt::format("{}: found values nested more than {} deep, expected at most that",
                              source_, kDeepestJson));
    }
    if (event == Json::parse_event_t::object_start) {
      open_objects_.emplace_back();
    } else if (event == Json::parse_event_t::object_end) {
      open_objects_.pop_back();
    } else if (event == Json::parse_event_t::key) {
      const auto& key = parsed.get_ref<const std::string&>();
      if (!open_objects_.back().insert(key).second) {
        throw Error(fmt::format("{}: found the key \"{}\" twice in one object, expected it once",
                                source_, key));
      }
    }
    return true;
  }

 private:
  const std::string& source_;
  std::vector<std::set<std::string>> open_objects_;
};

}  // namespace

Json ParseJson(std::string_view text, const std::string& source) {
  if (text.starts_with("version https://git-lfs")) {
    throw Error(fmt::format(
        "{}: found a Git LFS pointer, expected JSON: git lfs pull fetches the file itself",
        source));
  }
  try {
    return Json::parse(text, DuplicateKeyCheck(source));
  } catch (const Json::parse_error& error) {
    // The text of nlohmann/json repeats the position and has an error number of its own, so only
    // the reason is kept.
    std::string reason = error.what();
    const size_t cause = reason.find(" - ");
    if (const std::string_view word = NonFiniteAt(text, error.byte); !word.empty()) {
      reason = fmt::format("found {}, which JSON does not have", word);
    } else if (cause != std::string::npos && reason.find("; last read: ") != std::string::npos) {
      reason = reason.substr(cause + 3);
    } else if (const size_t colon = reason.rfind("; "); colon != std::string::npos) {
      reason = reason.substr(colon + 2);
    } else if (const size_t last = reason.rfind(": "); last != std::string::npos) {
      reason = reason.substr(last + 2);
    }
    throw Error(
        fmt::format("{}: not valid JSON at {}: {}", source, Position(text, error.byte), reason));
  } catch (const Json::out_of_range& error) {
    throw Error(fmt::format("{}: found a number that no double holds, expected finite numbers ({})",
                            source, error.what()));
  }
}

Json ReadJsonFile(const std::filesystem::path& path) {
  return ParseJson(ReadFile(path), path.string());
}

std::string DumpJson(const Json& json) {
  return json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

void WriteJsonFileAtomically(const std::filesystem::path& path, const Json& json) {
  WriteFileAtomically(path, DumpJson(json));
}

JsonFields::JsonFields(const Json& object, std::string where)
    : object_(&object), where_(std::move(where)) {
  if (!object.is_object()) {
    throw Error(fmt::format("{}: found {}, expected a JSON object", where_, Brief(object)));
  }
}

void JsonFields::Fail(std::string_view key, std::string_view found_and_expected) const {
  throw Error(fmt::format("{}: \"{}\": {}", where_, key, found_and_expected));
}

bool JsonFields::Has(std::string_view key) const {
  const auto found = object_->find(key);
  return found != object_->end() && !found->is_null();
}

const Json& JsonFields::Find(std::string_view key, std::string_view expected) {
  known_.emplace(key);
  const auto found = object_->find(key);
  if (found == object_->end()) Fail(key, fmt::format("found nothing, expected {}", expected));
  return *found;
}

const Json& JsonFields::Value(std::string_view key) { return Find(key, "a value"); }

std::string JsonFields::String(std::string_view key) {
  const Json& value = Find(key, "a string");
  if (!value.is_string()) Fail(key, fmt::format("found {}, expected a string", Brief(value)));
  return value.get<std::string>();
}

bool JsonFields::Bool(std::string_view key) {
  const Json& value = Find(key, "true or false");
  if (!value.is_boolean()) Fail(key, fmt::format("found {}, expected true or false", Brief(value)));
  return value.get<bool>();
}

int64_t JsonFields::Integer(std::string_view key) {
  const Json& value = Find(key, "an integer");
  if (!FitsInt64(value)) Fail(key, fmt::format("found {}, expected an integer", Brief(value)));
  return value.get<int64_t>();
}

double JsonFields::Number(std::string_view key) {
  const Json& value = Find(key, "a number");
  if (!value.is_number()) Fail(key, fmt::format("found {}, expected a number", Brief(value)));
  return value.get<double>();
}

std::vector<std::string> JsonFields::Strings(std::string_view key) {
  const Json& value = Find(key, "an array of strings");
  if (!value.is_array() ||
      !std::all_of(value.begin(), value.end(), [](const Json& v) { return v.is_string(); })) {
    Fail(key, fmt::format("found {}, expected an array of strings", Brief(value)));
  }
  return value.get<std::vector<std::string>>();
}

std::vector<int64_t> JsonFields::Integers(std::string_view key) {
  const Json& value = Find(key, "an array of integers");
  if (!value.is_array() || !std::all_of(value.begin(), value.end(), FitsInt64)) {
    Fail(key, fmt::format("found {}, expected an array of integers", Brief(value)));
  }
  return value.get<std::vector<int64_t>>();
}

std::vector<double> JsonFields::Numbers(std::string_view key) {
  const Json& value = Find(key, "an array of numbers");
  if (!value.is_array() ||
      !std::all_of(value.begin(), value.end(), [](const Json& v) { return v.is_number(); })) {
    Fail(key, fmt::format("found {}, expected an array of numbers", Brief(value)));
  }
  return value.get<std::vector<double>>();
}

JsonFields JsonFields::Object(std::string_view key) {
  return JsonFields(Find(key, "an object"), fmt::format("{}: {}", where_, key));
}

std::vector<JsonFields> JsonFields::Objects(std::string_view key) {
  const Json& value = Find(key, "an array of objects");
  if (!value.is_array())
    Fail(key, fmt::format("found {}, expected an array of objects", Brief(value)));
  std::vector<JsonFields> fields;
  fields.reserve(value.size());
  for (size_t i = 0; i < value.size(); ++i) {
    fields.emplace_back(value[i], fmt::format("{}: {}[{}]", where_, key, i));
  }
  return fields;
}

std::vector<std::string> JsonFields::Keys() const {
  std::vector<std::string> keys;
  for (const auto& item : object_->items()) keys.push_back(item.key());
  return keys;
}

void JsonFields::Ignore(std::string_view key) { known_.emplace(key); }

void JsonFields::RequireNoOthers() const {
  for (const std::string& key : Keys()) {
    if (!known_.contains(key)) {
      throw Error(fmt::format("{}: found the unknown key \"{}\", expected only {}", where_, key,
                              fmt::join(known_, ", ")));
    }
  }
}

}  // namespace kvtune
