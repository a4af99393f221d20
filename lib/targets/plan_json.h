// kvtune's own plan file: one PLAN object (docs/artifacts.md) with schema_version and target.
#pragma once

#include <string>

#include "lib/base/json_fields.h"
#include "lib/targets/target.h"

namespace kvtune {

std::string WritePlanJson(const ScoredPlan& plan, const Provenance& run, const Target& target);

// Needs "layers" or "spec", and refuses an object in which the two disagree. So it reads plan
// files, the PLAN objects of a front and the short form {"spec": "KV4;0:KV8"}. Costs and scores are
// ignored. Throws Error naming field and layer. `source` names the plan in messages.
PrecisionPlan PlanFromJson(const Json& json, const std::string& source, size_t layer_count,
                           const Target& target);

}  // namespace kvtune
