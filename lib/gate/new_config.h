// Makes the first config for a plan that a run found.
#pragma once

#include <filesystem>
#include <span>

#include "lib/core/pareto_front.h"
#include "lib/gate/gate_config.h"

namespace kvtune {

// A config for `plan` with the front's model, prompts and target, and with limits that leave room
// above what the run measured. `pairs` are the pairs that plan specs may name under the run's
// target; `out` is the file that the config will be written to. Throws Error when no plan spec can
// express the plan, or when the config could not be read again.
GateConfig NewGateConfig(const ParetoFront& front, const ScoredPlan& plan,
                         std::span<const PrecisionPair> pairs, const std::filesystem::path& out);

}  // namespace kvtune
