#include "lib/run/plan_source.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <utility>

#include "lib/base/error.h"
#include "lib/base/file.h"
#include "lib/base/suggestion.h"
#include "lib/core/artifacts.h"
#include "lib/report/summary_choice.h"
#include "lib/targets/target.h"

namespace kvtune {
namespace {

namespace fs = std::filesystem;

// A plan that is written out has no path's ending, and a colon only behind a semicolon.
bool HasPlanFileEnding(const std::string& text) {
  return text.ends_with(".json") || text.ends_with(".yaml") || text.ends_with(".yml") ||
         text.ends_with(".py");
}

bool LooksLikeFile(const std::string& text) {
  std::error_code ignored;
  return fs::is_regular_file(text, ignored) || HasPlanFileEnding(text);
}

bool LooksLikeRunAndName(const std::string& text) {
  return text.find(':') != std::string::npos && text.find(';') == std::string::npos;
}

PrecisionPlan PlanOfRun(const std::string& text, size_t layer_count) {
  const size_t colon = text.rfind(':');
  const fs::path run = text.substr(0, colon);
  const ParetoFront front = ReadFront(run);
  const PrecisionPlan& plan = RequirePlan(front, text.substr(colon + 1), run).plan;
  if (plan.layers.size() != layer_count) {
    throw Error(fmt::format("reading the plan {}: found {} layers, expected the model's {}", text,
                            plan.layers.size(), layer_count));
  }
  return plan;
}

}  // namespace

PrecisionPlan ReadPlanSource(const std::string& text, size_t layer_count, const Target& target) {
  if (LooksLikeFile(text)) return ImportPlan(ReadFile(text), text, layer_count, target);
  const PrecisionPlan plan = LooksLikeRunAndName(text)
                                 ? PlanOfRun(text, layer_count)
                                 : ParsePlanSpec(text, layer_count, target.shape.pairs);
  RequireFormatsOf(target, plan, fmt::format("reading the plan \"{}\"", text));
  return plan;
}

std::string PlanSourceFrom(const std::string& text, const fs::path& folder) {
  std::string path = (folder / text).string();
  return LooksLikeFile(path) || LooksLikeRunAndName(text) ? std::move(path) : text;
}

ParetoFront ReadFront(const fs::path& run) {
  const fs::path file = RunDirectory(run).front();
  return ParetoFrontFromJson(ReadArtifact(file, "kvtune search"), file.string());
}

const ScoredPlan& RequirePlan(const ParetoFront& front, const std::string& name,
                              const fs::path& run) {
  if (const ScoredPlan* plan = FindPlan(front, name)) return *plan;
  if (name == kRecommended) {
    if (const ScoredPlan* plan = ChooseForSummary(front).recommended) return *plan;
  }
  std::vector<std::string> names;
  for (const ScoredPlan& plan : front.plans) names.push_back(plan.name);
  for (const ScoredPlan& plan : front.uniform) names.push_back(plan.name);
  names.push_back(front.reference.name);
  names.emplace_back(kRecommended);
  throw Error(fmt::format("reading a plan of {}: found no \"{}\"{}, expected one of {}",
                          run.string(), name, DidYouMean(name, names), fmt::join(names, ", ")));
}

}  // namespace kvtune
