#include "lib/run/plan_line.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "lib/targets/plan_json.h"

namespace kvtune {
namespace {

NamedPlan PlanOfJson(const Json& json, const std::string& source, size_t layer_count,
                     const Target& target) {
  const PrecisionPlan layers =
      WithScalesOf(target, PlanFromJson(json, source, layer_count, target));
  RequireFormatsOf(target, layers, source);
  NamedPlan plan{PlanSpec(layers), layers};
  if (json.contains("name") && json["name"].is_string()) plan.name = json["name"];
  return plan;
}

}  // namespace

PlanLine ParsePlanLine(std::string_view line, const std::string& source, size_t layer_count,
                       const Target& target) {
  const Json json = ParseJsonLine(line, source);
  PlanLine parsed{.plans = {}, .is_array = json.is_array()};
  if (!parsed.is_array) {
    parsed.plans.push_back(PlanOfJson(json, source, layer_count, target));
    return parsed;
  }
  for (size_t i = 0; i < json.size(); ++i) {
    parsed.plans.push_back(
        PlanOfJson(json[i], fmt::format("{}: plan {}", source, i), layer_count, target));
  }
  return parsed;
}

}  // namespace kvtune
