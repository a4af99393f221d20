// How a search went, for people who ask whether to trust its front.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "lib/base/json_fields.h"

namespace kvtune {

enum class SearchStage { kUniformPlans, kGroupedSearch, kRefinement };

// One line of a search's progress: after the uniform plans, after every generation of the grouped
// search and after every round of the refinement.
struct GenerationReport {
  SearchStage stage = SearchStage::kUniformPlans;
  int generation = 0;          // of the stage, from 1; 0 for the uniform plans
  int64_t distinct_plans = 0;  // scored so far
  int64_t repeated_plans = 0;  // answered from memory
  size_t front_size = 0;
  // Area dominated by the plans so far in (log10 loss, bytes per token), within the worst uniform
  // plan and the exact plan's bytes: decades times bytes, higher is better.
  double hypervolume = 0;
};

struct SearchSummary {
  std::string algorithm;    // "nsga2", ...
  bool exhaustive = false;  // the whole grouped space was scored
  std::string stop_reason;  // a clause for people: "8 generations are done"
  int64_t distinct_plans = 0;
  int64_t prompt_scores = 0;        // plans times prompts
  int64_t prompt_scores_saved = 0;  // by racing
  // Of the surrogate's exact front over all layer-wise plans, by its fit to all scores, in the
  // units of GenerationReport: a guess at the best possible. Empty without a surrogate.
  std::optional<double> surrogate_hypervolume;
  std::vector<GenerationReport> generations = {};
};

// "search" of front.json (docs/artifacts.md).
Json ToJson(const SearchSummary& summary);
SearchSummary SearchSummaryFromJson(JsonFields fields);

}  // namespace kvtune
