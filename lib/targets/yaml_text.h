// Reads YAML that comes from outside, and reports its errors in one line.
#pragma once

#include <string>
#include <string_view>

namespace YAML {
class Node;
}

namespace kvtune {

// Whether the text is one YAML document and nothing else. YAML::Load ignores what follows the first
// one, for example all lines of an INI file behind "[section]". Throws YAML::Exception.
bool IsOneYamlDocument(const std::string& text);

// Parses YAML. Throws Error naming line and column, also for a second document.
YAML::Node LoadYaml(std::string_view content, const std::string& source);

// Whether the content is a YAML mapping with this key. Returns false for what is not YAML.
bool IsYamlWith(std::string_view content, const std::string& key);

}  // namespace kvtune
