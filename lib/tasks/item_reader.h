// Items and shots of a task, read from rows of JSON in the forms of several data sets.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "lib/base/json_fields.h"
#include "lib/tasks/task.h"

namespace kvtune {

// A row with its place: "test.jsonl, line 3".
struct Row {
  Json json;
  std::string where;
};

// Reads JSON lines, or one array of objects. A byte order mark is skipped. Throws Error.
std::vector<Row> ParseRows(std::string_view content, const std::string& source);
std::vector<Row> RowsOfArray(const Json& array, const std::string& where);

// The protocol that the keys of a row stand for, or nullopt.
std::optional<Protocol> ProtocolOfRow(const Json& row);

// Reads one row. `prompt_template` makes a prompt of the keys that it names in braces, for
// kCustom; empty: the row's "prompt". Throws Error that names the row and the key.
TaskItem ReadItem(const Row& row, Protocol protocol, const std::string& prompt_template);

Shot ReadShot(const Row& row, Protocol protocol);

}  // namespace kvtune
