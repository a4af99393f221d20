// Makes the first config for a plan that a run found.
#pragma once

#include <filesystem>
#include <optional>
#include <span>

#include "lib/core/pareto_front.h"
#include "lib/gate/gate_config.h"

namespace kvtune {

// A config for `plan` with the front's model, prompts and target, and with limits that leave room
// above what the run measured. With a task, its items are answered too; the run's answers give a
// limit where they are those to the same items. `pairs` are the pairs that plan specs may name
// under the run's target; `out` is the file that the config will be written to. Throws Error when
// no plan spec can express the plan, when the task cannot be read, or when the config could not be
// read again.
GateConfig NewGateConfig(const ParetoFront& front, const ScoredPlan& plan,
                         std::span<const PrecisionPair> pairs, const std::filesystem::path& out,
                         const std::optional<GateTask>& task = std::nullopt);

}  // namespace kvtune
