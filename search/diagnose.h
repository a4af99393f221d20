// Names the layers whose keys need more bits than those of the other layers, from the sensitivity
// table alone. Says which layers these are, how many bits their keys need, and what stands out in
// them (docs/algorithm.md, "Diagnosis").
//
// In many models a few layers have key channels, often through a large k_proj bias, that are much
// larger than the others. A quantizer whose scale is shared over channels then has no resolution
// left for the other channels, so that one cache type for all layers fails at a number of bits that
// all other layers bear.
#pragma once

#include "lib/core/diagnosis.h"
#include "lib/core/sensitivity.h"

namespace kvtune {

// At most half of the layers stand out by one error in one format: if more do, they are the rule in
// that model and not the exception. REQUIRES: a table with at least one layer and one pair.
Diagnosis Diagnose(const SensitivityTable& table);

}  // namespace kvtune
