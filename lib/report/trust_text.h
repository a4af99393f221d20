// Sentences that say how far the scores of a front can be trusted.
#pragma once

#include <string>

#include "lib/core/pareto_front.h"

namespace kvtune {

// A loss that fewer tokens carry is too uncertain to choose plans by.
inline constexpr double kFewestEffectiveTokens = 30;

// Says how much better the plans of the front look on the calibration prompts, for which the search
// chose them, than on held-out prompts. Empty without held-out scores, and for a front whose plans
// lose nothing.
std::string OptimismSentence(const ParetoFront& front);

// Says in how many plans of the front fewer than kFewestEffectiveTokens tokens carry the loss, and
// how many prompts would let that many carry it. The scores are those of the calibration prompts,
// which decide the front. Empty when there are none, and for fronts of earlier versions.
std::string EffectiveTokensSentence(const ParetoFront& front);

}  // namespace kvtune
