// Writes results to stdout. Nothing else goes there, so that other programs can read it.
#pragma once

#include <string_view>

#include "lib/base/json_fields.h"

namespace kvtune {

// Both throw Error when stdout cannot take all of it (a full disk, a closed pipe).
void PrintText(std::string_view text);
void PrintJson(const Json& json);

// The document {"schema_version": 1}, to which a command adds its result.
Json NewDocument();

}  // namespace kvtune
