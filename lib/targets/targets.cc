// The registry of serving engines, and what all of them share: export and import by format.
#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "lib/base/error.h"
#include "lib/base/json_fields.h"
#include "lib/base/split.h"
#include "lib/base/suggestion.h"
#include "lib/targets/engine.h"
#include "lib/targets/kvtuner_yaml.h"
#include "lib/targets/target.h"

namespace kvtune {
namespace {

const std::vector<Engine>& Engines() {
  static const std::vector<Engine> engines = [] {
    std::vector<Engine> list = {KvtunerEngine(),        KvtunerKiviEngine(), VllmEngine(),
                                ModeloptEngine(),       TensorrtLlmEngine(), SglangEngine(),
                                SglangPerLayerEngine(), LmdeployEngine(),    LlamaCppEngine(),
                                IkLlamaCppEngine(),     MlxOptiqEngine(),    HfEngine(),
                                HfQuantoEngine(),       Exllamav3Engine()};
    for (Engine& engine : list) {
      engine.exports.push_back(PlanJsonFormat());
      for (const ExportFormat& format : engine.exports)
        engine.target.exports.push_back(format.summary);
    }
    return list;
  }();
  return engines;
}

// The names of all items. REQUIRES: `Items` have a `name`.
template <typename Items>
std::vector<std::string> NamesOf(const Items& items) {
  std::vector<std::string> names;
  for (const auto& item : items) names.emplace_back(item.name);
  return names;
}

template <typename Items>
std::string Names(const Items& items) {
  return fmt::format("{}", fmt::join(NamesOf(items), ", "));
}

const ExportFormat& FindExport(std::string_view target, std::string_view format) {
  const Engine& engine = FindEngine(target);
  for (const ExportFormat& candidate : engine.exports) {
    if (candidate.summary.name == format) return candidate;
  }
  throw Error(
      fmt::format("exporting for the target {}: found the format \"{}\"{}, expected one of {}",
                  target, format, DidYouMean(format, NamesOf(engine.target.exports)),
                  Names(engine.target.exports)),
      ExitCode::kUsage);
}

void RequireFormat(const Target& target, KvFormatId id, KvSide side, size_t layer,
                   const std::string& source) {
  const std::vector<KvFormatId> formats = FormatsOf(target, side);
  if (FormatOf(id).is_exact() || std::ranges::count(formats, id) > 0) return;
  std::string expected;
  for (const KvFormatId format : formats) {
    if (!FormatOf(format).is_exact()) expected += fmt::format("{}, ", FormatOf(format).name);
  }
  throw Error(fmt::format("{}: layer {}: found {} {}, expected what the target {} has: {}exact",
                          source, layer, FormatOf(id).name,
                          side == KvSide::kKey ? "keys" : "values", target.name, expected));
}

const ExportFormat* Recognize(std::string_view content, const Engine& engine) {
  for (const ExportFormat& format : engine.exports) {
    if (format.recognizes(content)) return &format;
  }
  return nullptr;
}

// Says why a text is no plan for the target: it is a plan for another target, or it holds no
// engine's word about the cache. It is refused, because to read it all the same would take a
// reader's default for what the text says.
[[noreturn]] void FailUnrecognized(std::string_view content, const std::string& source,
                                   const Target& target) {
  for (const Engine& other : Engines()) {
    if (const ExportFormat* found = Recognize(content, other)) {
      throw Error(fmt::format(
          "{}: found a plan of the form {}, expected one for the target {} ({}; another one: "
          "--target {})",
          source, found->summary.name, target.name, Names(target.exports), other.target.name));
    }
  }
  const size_t first = content.find_first_not_of(" \t\r\n");
  if (first != std::string_view::npos && content[first] == '{') ParseJson(content, source);
  std::string expected;
  for (const ExportFormat& format : FindEngine(target.name).exports) {
    expected += fmt::format("{}{} ({})", expected.empty() ? "" : ", or ", format.summary.name,
                            format.words);
  }
  throw Error(
      fmt::format("{}: found no word about the KV cache, expected a plan for the target {}: {}",
                  source, target.name, expected));
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

const Engine& FindEngine(std::string_view name) {
  for (const Engine& engine : Engines()) {
    if (engine.target.name == name) return engine;
  }
  throw Error(fmt::format("choosing a target: found \"{}\"{}, expected one of {}", name,
                          DidYouMean(name, NamesOf(Targets())), Names(Targets())),
              ExitCode::kUsage);
}

const Target& FindTarget(std::string_view name) { return FindEngine(name).target; }

std::vector<PrecisionPair> AllPairs(std::span<const KvFormatId> formats) {
  std::vector<PrecisionPair> pairs;
  for (const KvFormatId key : formats) {
    for (const KvFormatId value : formats) pairs.push_back({key, value});
  }
  return pairs;
}

std::vector<PrecisionPair> TiedPairs(std::span<const KvFormatId> formats) {
  std::vector<PrecisionPair> pairs;
  for (const KvFormatId format : formats) pairs.push_back({format, format});
  return pairs;
}

std::vector<PrecisionPair> AndExact(std::vector<PrecisionPair> pairs) {
  pairs.insert(pairs.begin(), kExactPair);
  return pairs;
}

std::vector<KvFormatId> FormatsOf(const Target& target, KvSide side) {
  return target.shape.formats(side);
}

void RequireFormatsOf(const Target& target, const PrecisionPlan& plan, const std::string& source) {
  for (size_t layer = 0; layer < plan.layers.size(); ++layer) {
    RequireFormat(target, plan.layers[layer].key, KvSide::kKey, layer, source);
    RequireFormat(target, plan.layers[layer].value, KvSide::kValue, layer, source);
  }
}

std::optional<Misfit> FindMisfit(const PrecisionPlan& plan, const Target& target,
                                 std::string_view format) {
  const PlanShape shape = FindExport(target.name, format).shape.value_or(target.shape);
  std::optional<std::string> reason = WhyNot(shape, plan);
  if (!reason) return std::nullopt;
  return Misfit{*std::move(reason), NearestPlan(shape, plan)};
}

std::string ExportPlan(const ScoredPlan& plan, const ParetoFront& front, std::string_view format) {
  const Target& target = FindTarget(front.run.target);
  const ExportFormat& chosen = FindExport(target.name, format);
  if (const std::optional<Misfit> misfit = FindMisfit(plan.plan, target, format)) {
    throw Error(fmt::format("exporting {} as {}: {} (the nearest plan that it can express: {})",
                            plan.name, format, misfit->reason, PlanSpec(misfit->nearest)));
  }
  return chosen.write(plan, front.run, target);
}

PrecisionPlan ImportPlan(std::string_view content, const std::string& source, size_t layer_count,
                         const Target& target) {
  content = WithoutByteOrderMark(content);
  const ExportFormat* format = Recognize(content, FindEngine(target.name));
  if (!format) FailUnrecognized(content, source, target);
  const PrecisionPlan plan = format->read(content, source, layer_count, target);
  RequireFormatsOf(target, plan, source);
  return plan;
}

}  // namespace kvtune
