// Writes results to stdout. Nothing else goes there, so that other programs can read it.
#pragma once

#include <cstdint>
#include <string_view>

#include "lib/base/json_fields.h"

namespace kvtune {

// All of these throw Error when stdout cannot take all of it (a full disk, a closed pipe).

// For people: control characters in names from files are shown, not obeyed, and lines that are
// wider than the terminal are broken at spaces.
void PrintText(std::string_view text);
// For programs: byte for byte, as a file would have it.
void PrintExact(std::string_view text);
void PrintJson(const Json& json);

// Adds `peak_device_bytes`, the most bytes of a GPU's memory that this process has taken; 0, as on
// a CPU: nothing is added. Files of a run do not have it, because they are the same for every run.
void AddPeakMemory(Json& document, int64_t bytes);

// The document {"schema_version": 1}, to which a command adds its result.
Json NewDocument();

}  // namespace kvtune
