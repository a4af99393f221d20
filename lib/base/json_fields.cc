#include "lib/base/json_fields.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <unordered_map>

#include "lib/base/error.h"
#include "lib/base/file.h"

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

// An object of more keys than this gets an index of them when it is first asked for one.
constexpr size_t kMostSearched = 16;

}  // namespace

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

struct JsonFields::Index {
  std::unordered_map<std::string_view, const Json*> values;
};

// The object keeps its keys in the order of the file, so it can only search them one by one.
const Json* JsonFields::Look(std::string_view key) const {
  if (object_->size() <= kMostSearched) {
    const auto found = object_->find(key);
    return found == object_->end() ? nullptr : &*found;
  }
  if (!index_) {
    auto index = std::make_shared<Index>();
    index->values.reserve(object_->size());
    for (const auto& [name, value] : object_->get_ref<const Json::object_t&>()) {
      index->values.emplace(name, &value);
    }
    index_ = std::move(index);
  }
  const auto found = index_->values.find(key);
  return found == index_->values.end() ? nullptr : found->second;
}

bool JsonFields::Has(std::string_view key) const {
  const Json* found = Look(key);
  return found != nullptr && !found->is_null();
}

const Json& JsonFields::Find(std::string_view key, std::string_view expected) {
  known_.emplace(key);
  const Json* found = Look(key);
  if (found == nullptr) Fail(key, fmt::format("found nothing, expected {}", expected));
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

uint64_t JsonFields::Unsigned(std::string_view key) {
  const Json& value = Find(key, "an integer");
  if (!value.is_number_unsigned()) {
    Fail(key, fmt::format("found {}, expected an integer from 0 to 2^64 - 1", Brief(value)));
  }
  return value.get<uint64_t>();
}

int64_t JsonFields::IntegerFrom(std::string_view key, int64_t least) {
  constexpr int64_t kMost = int64_t{1} << 53;
  const int64_t value = Integer(key);
  if (value >= least && value <= kMost) return value;
  Fail(key, fmt::format("found {}, expected an integer from {} to {}", value, least, kMost));
}

double JsonFields::NumberWithin(std::string_view key, double least, double most) {
  const double value = Number(key);
  // NaN compares false.
  if (value >= least && value <= most) return value;
  Fail(key, fmt::format("found {}, expected a number from {} to {}", value, least, most));
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
