// The forms in which a user may name a plan on the command line.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

#include "lib/core/pareto_front.h"
#include "lib/targets/target.h"

namespace kvtune {

// Reads a plan from `text`, which may be one of these, tried in this order: a file in any export
// format; RUN:NAME, a plan of a run's front; a plan written out ("KV4;0:KV8"). Where the
// target uses stored scales, so does the plan. Throws Error (kUsage) for a mistyped one.
PrecisionPlan ReadPlanSource(const std::string& text, size_t layer_count, const Target& target);

// Translates a `text` that stands in a file of `folder`: names of files and runs, which are
// relative to that folder, become paths that can be opened from here; a plan that is written out
// stays as it is.
std::string PlanSourceFrom(const std::string& text, const std::filesystem::path& folder);

// Reads front.json of a run directory.
ParetoFront ReadFront(const std::filesystem::path& run);

// The same with the scores' single prompts (`per_prompt`, tokens and losses) where the run's logs
// have them, so that plans can be compared prompt by prompt (lib/core/plan_comparison.h).
ParetoFront ReadFrontByPrompt(const std::filesystem::path& run);

// In place of a plan's name: the plan that the summary recommends (lib/run/summary_choice.h).
inline constexpr std::string_view kRecommended = "recommended";

// Finds a measured plan by its name (of the front, near it, uniform or exact), or the one that
// kRecommended stands for. Throws Error naming the plans that exist.
const ScoredPlan& RequirePlan(const ParetoFront& front, const std::string& name,
                              const std::filesystem::path& run);

}  // namespace kvtune
