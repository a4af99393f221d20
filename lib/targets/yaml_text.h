// Reads YAML that comes from outside, and reports its errors in one line.
#pragma once

#include <string>
#include <string_view>

namespace YAML {
class Node;
}

namespace kvtune {

// Parses YAML. Throws Error naming line and column.
YAML::Node LoadYaml(std::string_view content, const std::string& source);

// Whether the content is a YAML mapping with this key. Returns false for what is not YAML.
bool IsYamlWith(std::string_view content, const std::string& key);

}  // namespace kvtune
