// The fields of a gate's config as a table: what the reader checks and the schema says.
#pragma once

#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "lib/base/json_fields.h"

namespace kvtune {

enum class FieldType { kString, kStrings, kInteger, kNumber, kObject };
enum class Presence { kRequired, kOptional };

struct FieldRule {
  std::string_view name;
  FieldType type = FieldType::kString;
  Presence presence = Presence::kOptional;
  std::string_view meaning;
  std::optional<double> least;  // of a number; of a string or an array 1 is "not empty"
  std::optional<double> most;
  std::vector<std::string_view> choices;  // of a string; empty: any
  std::vector<FieldRule> fields;          // of an object
};

const std::vector<FieldRule>& GateConfigRules();

// Checks every field against its rule and refuses others. Throws Error.
void RequireRules(JsonFields& fields, std::span<const FieldRule> rules);

// An object schema without a title.
Json SchemaOf(std::span<const FieldRule> rules);

}  // namespace kvtune
