#include "lib/run/plan_source.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <unordered_map>
#include <utility>
#include <vector>

#include "lib/base/error.h"
#include "lib/base/file.h"
#include "lib/base/suggestion.h"
#include "lib/core/artifacts.h"
#include "lib/run/evaluation_log.h"
#include "lib/run/summary_choice.h"
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

using PromptsOfPlans =
    std::unordered_map<PrecisionPlan, std::vector<PromptScore>, PrecisionPlanHash>;

PromptsOfPlans LossesByPrompt(const fs::path& log, size_t layer_count) {
  PromptsOfPlans prompts;
  for (LoggedEvaluation& logged : ReadEvaluationLog(log, layer_count).evaluations) {
    prompts.try_emplace(std::move(logged.plan), std::move(logged.score.per_prompt));
  }
  return prompts;
}

// A log that was continued with other prompts than the score's has nothing to say about it.
void AddPrompts(const PromptsOfPlans& known, const PrecisionPlan& plan, PlanScore& score) {
  const auto found = known.find(plan);
  if (found == known.end()) return;
  int64_t tokens = 0;
  for (const PromptScore& prompt : found->second) tokens += prompt.tokens;
  if (static_cast<int64_t>(found->second.size()) != score.prompts || tokens != score.tokens) return;
  score.per_prompt = found->second;
}

}  // namespace

PrecisionPlan ReadPlanSource(const std::string& text, size_t layer_count, const Target& target) {
  if (LooksLikeFile(text)) {
    return WithScalesOf(target, ImportPlan(ReadFile(text), text, layer_count, target));
  }
  const PrecisionPlan plan = LooksLikeRunAndName(text)
                                 ? PlanOfRun(text, layer_count)
                                 : ParsePlanSpec(text, layer_count, target.shape.pairs);
  RequireFormatsOf(target, plan, fmt::format("reading the plan \"{}\"", text));
  return WithScalesOf(target, plan);
}

std::string PlanSourceFrom(const std::string& text, const fs::path& folder) {
  std::string path = (folder / text).string();
  return LooksLikeFile(path) || LooksLikeRunAndName(text) ? std::move(path) : text;
}

ParetoFront ReadFront(const fs::path& run) {
  const fs::path file = RunDirectory(run).front();
  return ParetoFrontFromJson(ReadArtifact(file, Artifact::kFront), file.string());
}

ParetoFront ReadFrontByPrompt(const fs::path& run) {
  ParetoFront front = ReadFront(run);
  const RunDirectory directory(run);
  const auto layers = static_cast<size_t>(front.run.layer_count());
  const auto calibration = LossesByPrompt(directory.evaluations(), layers);
  const auto held_out = LossesByPrompt(directory.held_out(), layers);
  for (ScoredPlan* plan : AllPlans(front)) {
    AddPrompts(calibration, plan->plan, plan->calibration);
    if (plan->held_out) AddPrompts(held_out, plan->plan, plan->held_out->score);
  }
  return front;
}

const ScoredPlan& RequirePlan(const ParetoFront& front, const std::string& name,
                              const fs::path& run) {
  if (const ScoredPlan* plan = FindPlan(front, name)) return *plan;
  if (name == kRecommended) {
    if (const ScoredPlan* plan = ChooseForSummary(front).recommended) return *plan;
    throw Error(
        fmt::format("reading a plan of {}: found none that its search recommends, expected "
                    "the name of one (`kvtune pareto list` names them)",
                    run.string()));
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
