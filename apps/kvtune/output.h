// Writing results to stdout, where nothing else goes.
#pragma once

#include <string_view>

#include "lib/base/json_fields.h"

namespace kvtune {

// Throws Error when stdout cannot take it all (a full disk, a closed pipe).
void PrintText(std::string_view text);
void PrintJson(const Json& json);

// {"schema_version": 1}, to which a command adds its result.
Json NewDocument();

}  // namespace kvtune
