// Reading the configuration of one component of a tokenizer, a JSON object with a "type" and
// options.
#pragma once

#include <initializer_list>
#include <string>
#include <string_view>

#include "lib/base/json_fields.h"

namespace kvtune::tokenizer {

// Returns the option, or `default_value` when it is missing or null. Throws Error when it has
// another type.
bool BoolOr(JsonFields& fields, std::string_view key, bool default_value);

// Returns the one character that `key` must hold. Throws Error when it holds anything else.
char32_t Character(JsonFields& fields, std::string_view key);

// Throws Error unless the option, which kvtune does not implement, is missing, null or an empty
// text.
void RequireUnset(JsonFields& fields, std::string_view key);

// Throws Error, which says that `fields` is a component of a type that kvtune does not have.
[[noreturn]] void FailUnknownType(const JsonFields& fields, std::string_view found,
                                  std::initializer_list<std::string_view> supported);

}  // namespace kvtune::tokenizer
