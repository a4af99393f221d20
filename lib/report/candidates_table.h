// What calibrate, prune and cluster found, layer by layer.
#pragma once

#include <cstddef>
#include <string>

#include "lib/core/candidates.h"
#include "lib/core/layer_groups.h"
#include "lib/core/sensitivity.h"

namespace kvtune {

// One line a layer: e_o of every pair. `width` as in TextTable::Render.
std::string SensitivityText(const SensitivityTable& table, size_t width);

// One line a layer: kept pairs, and dropped pairs each with what dominates it.
std::string CandidatesText(const CandidateSet& candidates, size_t width);

// One line a group: its layers and their candidates, and the number of plans that are left.
std::string GroupsText(const LayerGroups& groups, size_t width);

}  // namespace kvtune
