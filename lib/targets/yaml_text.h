// YAML that comes from outside, with errors in one line.
#pragma once

#include <string>
#include <string_view>

namespace YAML {
class Node;
}

namespace kvtune {

// Throws Error naming line and column.
YAML::Node LoadYaml(std::string_view content, const std::string& source);

// A mapping with this key; false for what is not YAML.
bool IsYamlWith(std::string_view content, const std::string& key);

}  // namespace kvtune
