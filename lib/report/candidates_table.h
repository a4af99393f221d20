// Tables of what calibrate, prune and cluster found, layer by layer.
#pragma once

#include <cstddef>
#include <string>

#include "lib/core/candidates.h"
#include "lib/core/layer_groups.h"
#include "lib/core/sensitivity.h"

namespace kvtune {

// Returns one line for each layer with the e_o of every pair. `width` is as in TextTable::Render.
std::string SensitivityText(const SensitivityTable& table, size_t width);

// Returns one line for each layer with the kept pairs and the dropped pairs, each dropped pair with
// the kept pair that dominates it.
std::string CandidatesText(const CandidateSet& candidates, size_t width);

// Returns one line for each group with its layers and their candidates, and the number of plans
// that are left to search.
std::string GroupsText(const LayerGroups& groups, size_t width);

}  // namespace kvtune
