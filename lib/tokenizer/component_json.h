// Reading the configuration of one tokenizer component ({"type": "...", options}).
#pragma once

#include <initializer_list>
#include <string>
#include <string_view>

#include "lib/base/json_fields.h"

namespace kvtune::tokenizer {

// An option that may be missing or null. Throws Error when it has another type.
bool BoolOr(JsonFields& fields, std::string_view key, bool default_value);

// The one character that `key` must hold. Throws Error.
char32_t Character(JsonFields& fields, std::string_view key);

// An option that we do not implement must be missing, null or an empty text. Throws Error.
void RequireUnset(JsonFields& fields, std::string_view key);

// Throws Error: `fields` is a component of a type that we do not have.
[[noreturn]] void FailUnknownType(const JsonFields& fields, std::string_view found,
                                  std::initializer_list<std::string_view> supported);

}  // namespace kvtune::tokenizer
