// The first config of a plan that a run found.
#pragma once

#include <filesystem>
#include <span>

#include "lib/core/pareto_front.h"
#include "lib/gate/gate_config.h"

namespace kvtune {

// A config for `plan`: the front's model, prompts and target, and limits with room above what the
// run measured. `pairs` are those that specs under the run's target may name; `out` is the file
// that the config is for. Throws Error where no spec says the plan, or what is made could not be
// read again.
GateConfig NewGateConfig(const ParetoFront& front, const ScoredPlan& plan,
                         std::span<const PrecisionPair> pairs, const std::filesystem::path& out);

}  // namespace kvtune
