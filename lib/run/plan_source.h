// What a user may write where a plan is wanted.
#pragma once

#include <filesystem>
#include <string>

#include "lib/core/pareto_front.h"
#include "lib/targets/target.h"

namespace kvtune {

// `text` is, tried in this order: a file of any exported format; RUN:NAME, a plan of a run's front;
// a plan written out ("KV4;0:KV8"). Throws Error (kUsage) for a mistyped one.
PrecisionPlan ReadPlanSource(const std::string& text, size_t layer_count, const Target& target);

// `text` as written in a file of `folder`: names of files and runs become paths from here, a plan
// that is written out stays as it is.
std::string PlanSourceFrom(const std::string& text, const std::filesystem::path& folder);

// front.json of a run directory.
ParetoFront ReadFront(const std::filesystem::path& run);

// A plan of the front, a uniform plan or the exact one. Throws Error naming those that exist.
const ScoredPlan& RequirePlan(const ParetoFront& front, const std::string& name,
                              const std::filesystem::path& run);

}  // namespace kvtune
