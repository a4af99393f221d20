// Chooses what the summary at the end of a search shows (lib/report/front_summary.h).
#pragma once

#include "lib/core/pareto_front.h"
#include "lib/report/front_summary.h"

namespace kvtune {

// REQUIRES: the front outlives the result. Without the single prompts of the held-out scores
// (ReadFrontByPrompt) no plan can be shown to be like 8 bits.
SummaryChoice ChooseForSummary(const ParetoFront& front);

}  // namespace kvtune
