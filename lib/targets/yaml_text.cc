#include "lib/targets/yaml_text.h"

#include <fmt/format.h>
#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/yaml.h>

#include <sstream>

#include "lib/base/error.h"

namespace kvtune {
namespace {

// Does nothing with a document, so that it is parsed only.
class IgnoredEvents : public YAML::EventHandler {
 public:
  using Mark = YAML::Mark;
  using Tag = const std::string&;
  void OnDocumentStart(const Mark&) override {}
  void OnDocumentEnd() override {}
  void OnNull(const Mark&, YAML::anchor_t) override {}
  void OnAlias(const Mark&, YAML::anchor_t) override {}
  void OnScalar(const Mark&, Tag, YAML::anchor_t, Tag) override {}
  void OnSequenceStart(const Mark&, Tag, YAML::anchor_t, YAML::EmitterStyle::value) override {}
  void OnSequenceEnd() override {}
  void OnMapStart(const Mark&, Tag, YAML::anchor_t, YAML::EmitterStyle::value) override {}
  void OnMapEnd() override {}
};

}  // namespace

bool IsOneYamlDocument(const std::string& text) {
  std::istringstream in(text);
  YAML::Parser parser(in);
  IgnoredEvents ignored;
  parser.HandleNextDocument(ignored);
  return !parser;
}

YAML::Node LoadYaml(std::string_view content, const std::string& source) {
  try {
    const std::string text(content);
    YAML::Node node = YAML::Load(text);
    if (!IsOneYamlDocument(text)) {
      throw Error(
          fmt::format("{}: found more behind the first YAML document, expected one alone", source));
    }
    return node;
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
