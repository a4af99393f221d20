// Names the layers whose keys need more bits than those of the other layers, from the sensitivity
// table alone: which, how many bits, and what stands out in them (docs/algorithm.md, "Diagnosis").
//
// In many models a few layers have key channels, often through a large k_proj bias, that are much
// larger than the others. A quantizer whose scale is shared over channels then has no resolution
// left for the rest, and one cache type for all layers fails at bits that all other layers bear.
#pragma once

#include "lib/core/diagnosis.h"
#include "lib/core/sensitivity.h"

namespace kvtune {

// Up to half of the layers can be named; more are the rule of that model, not its exception.
// REQUIRES: a table with at least one layer and one pair.
Diagnosis Diagnose(const SensitivityTable& table);

}  // namespace kvtune
