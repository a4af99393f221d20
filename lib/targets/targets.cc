// The registry of serving engines, and what all of them share: export and import by format.
#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "lib/base/error.h"
#include "lib/targets/engine.h"
#include "lib/targets/kvtuner_yaml.h"
#include "lib/targets/plan_json.h"
#include "lib/targets/target.h"

namespace kvtune {
namespace {

const std::vector<Engine>& Engines() {
  static const std::vector<Engine> engines = {KvtunerEngine(), KvtunerKiviEngine()};
  return engines;
}

// `Items` have a `name`.
template <typename Items>
std::string Names(const Items& items) {
  std::string names;
  for (const auto& item : items) {
    if (!names.empty()) names += ", ";
    names += item.name;
  }
  return names;
}

const Engine& FindEngine(std::string_view name) {
  for (const Engine& engine : Engines()) {
    if (engine.target.name == name) return engine;
  }
  throw Error(fmt::format("choosing a target: found \"{}\", expected one of {}", name,
                          Names(Targets())),
              ExitCode::kUsage);
}

bool StartsJsonObject(std::string_view content) {
  const size_t first = content.find_first_not_of(" \t\r\n");
  return first != std::string_view::npos && content[first] == '{';
}

void RequireFormat(const Target& target, KvFormatId id, KvSide side, size_t layer,
                   const std::string& source) {
  const std::vector<KvFormatId> formats = FormatsOf(target, side);
  if (FormatOf(id).is_exact() || std::ranges::count(formats, id) > 0) return;
  std::string expected;
  for (const KvFormatId format : formats) expected += fmt::format("{}, ", FormatOf(format).name);
  throw Error(fmt::format("{}: layer {}: found {} {}, expected what the target {} has: {}exact",
                          source, layer, FormatOf(id).name,
                          side == KvSide::kKey ? "keys" : "values", target.name, expected));
}

}  // namespace

std::span<const Target> Targets() {
  static const std::vector<Target> targets = [] {
    std::vector<Target> list;
    for (const Engine& engine : Engines()) list.push_back(engine.target);
    return list;
  }();
  return targets;
}

const Target& FindTarget(std::string_view name) { return FindEngine(name).target; }

std::vector<PrecisionPair> AllPairs(std::span<const KvFormatId> formats) {
  std::vector<PrecisionPair> pairs;
  for (const KvFormatId key : formats) {
    for (const KvFormatId value : formats) pairs.push_back({key, value});
  }
  return pairs;
}

std::vector<KvFormatId> FormatsOf(const Target& target, KvSide side) {
  std::vector<KvFormatId> formats;
  for (const PrecisionPair pair : target.pairs) {
    const KvFormatId id = side == KvSide::kKey ? pair.key : pair.value;
    if (std::ranges::count(formats, id) == 0) formats.push_back(id);
  }
  return formats;
}

void RequireFormatsOf(const Target& target, const PrecisionPlan& plan, const std::string& source) {
  for (size_t layer = 0; layer < plan.layers.size(); ++layer) {
    RequireFormat(target, plan.layers[layer].key, KvSide::kKey, layer, source);
    RequireFormat(target, plan.layers[layer].value, KvSide::kValue, layer, source);
  }
}

std::string ExportPlan(const ScoredPlan& plan, const ParetoFront& front, std::string_view format) {
  const Engine& engine = FindEngine(front.run.target);
  for (const ExportFormat& candidate : engine.exports) {
    if (candidate.name == format) return candidate.write(plan, engine.target);
  }
  throw Error(fmt::format("exporting {} for the target {}: found the format \"{}\", "
                          "expected one of {}",
                          plan.name, engine.target.name, format, Names(engine.exports)),
              ExitCode::kUsage);
}

PrecisionPlan ImportPlan(std::string_view content, const std::string& source, size_t layer_count,
                         const Target& target) {
  const PrecisionPlan plan =
      StartsJsonObject(content)
          ? PlanFromJson(ParseJson(content, source), source, layer_count, target)
          : ReadKvtunerYaml(content, source, layer_count, target);
  RequireFormatsOf(target, plan, source);
  return plan;
}

}  // namespace kvtune
