// A memory budget as sentences for people.
#pragma once

#include <string>

#include "lib/core/memory_budget.h"
#include "lib/core/pareto_front.h"

namespace kvtune {

// "4 x 32k tokens", "8k tokens".
std::string SequencesText(const MemoryBudget& budget);

// What the weights take, what remains for the cache, and whether a cache in bfloat16, of
// `exact_bytes_per_token`, fits: then nothing need be quantized, and the text says so. Ends in a
// line break.
std::string BudgetText(const MemoryBudget& budget, double exact_bytes_per_token);

// The budget, and what the plan takes of it against the exact plan `reference`. Ends in a line
// break.
std::string FitText(const MemoryBudget& budget, const ScoredPlan& plan,
                    const ScoredPlan& reference);

// "3.2 times the context of bf16".
std::string ContextGainText(double bytes_per_token, double exact_bytes_per_token);

}  // namespace kvtune
