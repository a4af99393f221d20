#include "lib/targets/kvtuner_yaml.h"

#include <fmt/format.h>
#include <yaml-cpp/yaml.h>

#include <optional>

#include "lib/base/error.h"
#include "lib/base/printable.h"
#include "lib/targets/engine.h"
#include "lib/targets/engine_settings.h"
#include "lib/targets/yaml_text.h"

namespace kvtune {
namespace {

constexpr const char* kKeyBits = "nbits_key";
constexpr const char* kValueBits = "nbits_value";

// Removes the name and the equals sign in front of a Python dict, and the code behind it. What is
// left is YAML in flow style.
std::string_view WithoutPythonCode(std::string_view content) {
  const size_t brace = content.find('{');
  const size_t equals = content.find('=');
  const bool is_python = equals < brace && brace != std::string_view::npos &&
                         content.substr(0, equals).find(':') == std::string_view::npos;
  return is_python ? content.substr(brace, content.rfind('}') + 1 - brace) : content;
}

// Reads one file, and knows its name for messages.
class YamlReader {
 public:
  YamlReader(const std::string& source, const Target& target) : source_(source), target_(target) {}

  PrecisionPlan Read(std::string_view content, size_t layer_count) const {
    const YAML::Node root = LoadYaml(WithoutPythonCode(content), source_);
    if (!root.IsMap()) Fail(root, "found no mapping, expected layer indices with their bits");
    std::vector<std::optional<PrecisionPair>> layers(layer_count);
    for (const auto& entry : root) {
      const size_t layer = LayerIndex(entry.first, layer_count);
      if (layers[layer]) Fail(entry.first, fmt::format("found layer {} twice", layer));
      layers[layer] = Pair(entry.second, layer);
    }
    PrecisionPlan plan;
    for (size_t layer = 0; layer < layer_count; ++layer) {
      if (!layers[layer]) {
        Fail(root, fmt::format("found no layer {}, expected 0 to {}", layer, layer_count - 1));
      }
      plan.layers.push_back(*layers[layer]);
    }
    return plan;
  }

 private:
  size_t LayerIndex(const YAML::Node& key, size_t layer_count) const {
    size_t layer = 0;
    if (!key.IsScalar() || !YAML::convert<size_t>::decode(key, layer) || layer >= layer_count) {
      Fail(key, fmt::format("found the layer {}, expected 0 to {}", Text(key), layer_count - 1));
    }
    return layer;
  }

  PrecisionPair Pair(const YAML::Node& bits, size_t layer) const {
    if (!bits.IsMap() || bits.size() != 2 || !bits[kKeyBits] || !bits[kValueBits]) {
      Fail(bits, fmt::format("layer {}: found {}, expected exactly {} and {}", layer, Text(bits),
                             kKeyBits, kValueBits));
    }
    return {Format(bits[kKeyBits], KvSide::kKey, layer),
            Format(bits[kValueBits], KvSide::kValue, layer)};
  }

  KvFormatId Format(const YAML::Node& node, KvSide side, size_t layer) const {
    int bits = 0;
    const bool is_number = node.IsScalar() && YAML::convert<int>::decode(node, bits);
    std::string expected;
    for (const KvFormatId id : FormatsOf(target_, side)) {
      if (is_number && FormatOf(id).bits == bits) return id;
      expected += fmt::format("{}{}", expected.empty() ? "" : ", ", FormatOf(id).bits);
    }
    Fail(node, fmt::format("layer {}: {}: found {}, expected one of {}", layer,
                           side == KvSide::kKey ? kKeyBits : kValueBits, Text(node), expected));
  }

  static std::string Text(const YAML::Node& node) {
    return node.IsScalar() ? fmt::format("\"{}\"", node.Scalar()) : YAML::Dump(node);
  }

  [[noreturn]] void Fail(const YAML::Node& node, const std::string& found_and_expected) const {
    throw Error(fmt::format("{}, line {}: {}", source_, node.Mark().line + 1, found_and_expected));
  }

  const std::string& source_;
  const Target& target_;
};

}  // namespace

std::string WriteKvtunerYaml(const ScoredPlan& plan, const KvtunerCacheSettings& settings) {
  std::string yaml = fmt::format(
      "# Plan {}: {}\n"
      "# For KVTuner's per_layer_config_path with axis_key={}, axis_value={}, q_group_size={}, "
      "residual_length={}, asym=True\n",
      PrintableLine(plan.name), PlanSpec(plan.plan), settings.axis_key, settings.axis_value,
      settings.q_group_size, settings.residual_length);
  for (size_t layer = 0; layer < plan.plan.layers.size(); ++layer) {
    const PrecisionPair pair = plan.plan.layers[layer];
    yaml += fmt::format("{}:\n  {}: {}\n  {}: {}\n", layer, kKeyBits, FormatOf(pair.key).bits,
                        kValueBits, FormatOf(pair.value).bits);
  }
  return yaml;
}

bool IsKvtunerYaml(std::string_view content) {
  const std::string text = WithoutComments(content);
  return text.find(kKeyBits) != std::string::npos || text.find(kValueBits) != std::string::npos;
}

PrecisionPlan ReadKvtunerYaml(std::string_view content, const std::string& source,
                              size_t layer_count, const Target& target) {
  return YamlReader(source, target).Read(content, layer_count);
}

}  // namespace kvtune
