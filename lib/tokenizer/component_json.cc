#include "lib/tokenizer/component_json.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "lib/base/error.h"
#include "lib/tokenizer/unicode.h"

namespace kvtune::tokenizer {

bool BoolOr(JsonFields& fields, std::string_view key, bool default_value) {
  fields.Ignore(key);
  return fields.Has(key) ? fields.Bool(key) : default_value;
}

char32_t Character(JsonFields& fields, std::string_view key) {
  const std::string text = fields.String(key);
  if (text.empty() || DecodeCodePoint(text, 0).length != text.size()) {
    fields.Fail(key, fmt::format("found \"{}\", expected one character", text));
  }
  return DecodeCodePoint(text, 0).value;
}

void RequireUnset(JsonFields& fields, std::string_view key) {
  fields.Ignore(key);
  if (!fields.Has(key)) return;
  const Json& value = fields.Value(key);
  if (value.is_string() && value.get_ref<const std::string&>().empty()) return;
  fields.Fail(key, fmt::format("found {}, expected null: kvtune does not implement this option",
                               value.dump()));
}

void FailUnknownType(const JsonFields& fields, std::string_view found,
                     std::initializer_list<std::string_view> supported) {
  throw Error(fmt::format("{}: found the type \"{}\", expected one of {}", fields.where(), found,
                          fmt::join(supported, ", ")));
}

}  // namespace kvtune::tokenizer
