// The fields of a gate's config as a table. The reader checks a config by it, and the JSON Schema
// is made from it.
#pragma once

#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "lib/base/json_fields.h"

namespace kvtune {

enum class FieldType { kString, kStrings, kInteger, kUnsigned, kNumber, kObject, kBoolean };
enum class Presence { kRequired, kOptional };

struct FieldRule {
  std::string_view name;
  FieldType type = FieldType::kString;
  Presence presence = Presence::kOptional;
  std::string_view meaning;
  std::optional<double> least;  // of a number; for a string or an array 1 means "not empty"
  std::optional<double> most;
  std::vector<std::string_view> choices;  // allowed values of a string; empty: any
  std::vector<FieldRule> fields;          // the fields of an object
};

const std::vector<FieldRule>& GateConfigRules();

// Checks every field against its rule, and refuses fields without a rule. Throws Error.
void RequireRules(JsonFields& fields, std::span<const FieldRule> rules);

// The JSON Schema of an object with these fields, without a title.
Json SchemaOf(std::span<const FieldRule> rules);

}  // namespace kvtune
