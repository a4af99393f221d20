// The lines that other programs send to `kvtune evaluate --stdin`.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "lib/core/precision_plan.h"
#include "lib/targets/target.h"

namespace kvtune {

struct PlanLine {
  std::vector<NamedPlan> plans;
  bool is_array = false;  // an array of plans, which are scored together, and not one plan
};

// Reads one line, which messages call `source`. A plan without a name is named by its spec. Throws
// Error for what is no plan, and for a plan with a format that is not the target's.
PlanLine ParsePlanLine(std::string_view line, const std::string& source, size_t layer_count,
                       const Target& target);

}  // namespace kvtune
