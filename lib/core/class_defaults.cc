#include "lib/core/class_defaults.h"

#include <array>
#include <nlohmann/json.hpp>
#include <string>

namespace kvtune {
namespace {

constexpr std::string_view kTable =
#include "lib/core/class_defaults.inc"
    ;

// Read wherever they stand: older files have them, the classes do not name them.
constexpr std::array<std::string_view, 7> kKeptFields = {
    "rope_theta",           "rope_scaling",          "rope_parameters",
    "rope_local_base_freq", "partial_rotary_factor", "use_bidirectional_attention",
    "layer_types"};

// Of the table, but no fields of config.json with a default.
constexpr std::array<std::string_view, 6> kTableOnly = {
    "model_type",      "aliases", "rope_theta", "rope_local_theta", "partial_rotary_factor",
    "rope_parameters",
};

template <size_t kSize>
bool Contains(const std::array<std::string_view, kSize>& names, std::string_view name) {
  for (const std::string_view other : names) {
    if (other == name) return true;
  }
  return false;
}

}  // namespace

const Json& ClassDefaults(std::string_view config_class) {
  static const Json table = Json::parse(kTable);
  return table.at(std::string(config_class));
}

Json WithClassDefaults(const Json& config, std::string_view config_class) {
  const Json& defaults = ClassDefaults(config_class);
  Json fields = Json::object();
  for (const auto& [name, value] : defaults.items()) {
    if (!Contains(kTableOnly, name)) fields[name] = config.contains(name) ? config.at(name) : value;
  }
  if (defaults.contains("aliases")) {
    for (const auto& [alias, name] : defaults.at("aliases").items()) {
      if (config.contains(alias)) fields[name.get<std::string>()] = config.at(alias);
    }
  }
  for (const std::string_view name : kKeptFields) {
    if (config.contains(name)) fields[std::string(name)] = config.at(std::string(name));
  }
  // A class that scales without being asked does so where no parameters are given.
  const bool has_parameters =
      config.contains("rope_parameters") && !config.at("rope_parameters").is_null();
  if (defaults.contains("rope_parameters") && !has_parameters) {
    fields["rope_parameters"] = defaults.at("rope_parameters");
  }
  return fields;
}

}  // namespace kvtune
