#include "lib/targets/yaml_text.h"

#include <fmt/format.h>
#include <yaml-cpp/yaml.h>

#include "lib/base/error.h"

namespace kvtune {

YAML::Node LoadYaml(std::string_view content, const std::string& source) {
  try {
    return YAML::Load(std::string(content));
  } catch (const YAML::ParserException& error) {
    throw Error(fmt::format("{}: not valid YAML at line {}, column {}: {}", source,
                            error.mark.line + 1, error.mark.column + 1, error.msg));
  }
}

bool IsYamlWith(std::string_view content, const std::string& key) {
  try {
    const YAML::Node root = YAML::Load(std::string(content));
    return root.IsMap() && root[key];
  } catch (const YAML::Exception&) {
    return false;
  }
}

}  // namespace kvtune
