// The prompts on which single layers are scored before plans of many layers are proposed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "lib/core/measured_model.h"

namespace kvtune {

inline constexpr size_t kFewestScoutingPrompts = 4;
inline constexpr int64_t kMostScoutingTokens = 2048;

// The first quarter of the prompts, and no fewer than kFewestScoutingPrompts. Where these have more
// than kMostScoutingTokens tokens, they are fewer, and then the longest are cut at their ends.
//
// The scores order layers and pairs for the surrogate, which proposes plans and does not judge
// them; all layers and pairs together are by far more scores than the search itself makes.
std::vector<TokenIds> ScoutingPrompts(std::span<const TokenIds> prompts);

}  // namespace kvtune
