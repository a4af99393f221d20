// The end of a search for people: a few plans, three answers and the next command.
#pragma once

#include <cstddef>
#include <optional>
#include <string>

#include "lib/core/diagnosis.h"
#include "lib/core/pareto_front.h"

namespace kvtune {

struct SummaryOptions {
  std::string run;  // the run directory, as a user would type it
  std::optional<Diagnosis> diagnosis;
  size_t width = 0;  // as in TextTable::Render; without a limit there are no bars
  bool unicode = false;
};

// At most kMostRows plans with the held-out loss, its interval and the share of bf16's bytes; why 4
// bits everywhere are not enough; the plan that is like 8 bits, the recommended one and the
// smallest below a loss; the command that exports the recommended one. REQUIRES: plans have their
// single prompts where they shall be compared (ReadFrontByPrompt).
std::string FrontSummary(const ParetoFront& front, const SummaryOptions& options);

// A plan in few letters: "KV4; 0,5 K8V2; 7 KV8".
std::string ShortPlanText(const PrecisionPlan& plan);

}  // namespace kvtune
