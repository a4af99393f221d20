// A summary of how a search went, for people who ask whether they can trust its front.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "lib/base/json_fields.h"

namespace kvtune {

enum class SearchStage { kUniformPlans, kGroupedSearch, kRefinement };

// One line of a search's progress. There is one after the uniform plans, one after every generation
// of the grouped search and one after every round of the refinement.
struct GenerationReport {
  SearchStage stage = SearchStage::kUniformPlans;
  int generation = 0;          // number within the stage, from 1; 0 for the uniform plans
  int64_t distinct_plans = 0;  // number of plans scored so far
  int64_t repeated_plans = 0;  // number of plans answered from memory
  size_t front_size = 0;
  // The area that the plans so far dominate in (log10 loss, bytes per token), bounded by the worst
  // uniform plan and the bytes of the exact plan. Its unit is decades times bytes, and higher is
  // better. In a search by time too it is the volume in (log10 loss, bytes per token,
  // milliseconds), bounded by the slowest of the exact and the uniform plans.
  double hypervolume = 0;
};

// A search by the answers to a task: which of its items plans were searched on, and which they are
// tested on.
struct AnswerSearch {
  int64_t search_items = 0;
  int64_t test_items = 0;
  int64_t generated_tokens = 0;  // for the search's items under all scored plans
  // The items of the search, counted from 0 and ascending; empty in files of earlier versions.
  std::vector<int64_t> searched = {};
};

struct SearchSummary {
  std::string algorithm;    // "nsga2", ...
  bool exhaustive = false;  // whether the whole grouped space was scored
  std::string stop_reason;  // a clause for people: "8 generations are done"
  int64_t distinct_plans = 0;
  int64_t prompt_scores = 0;        // plans times prompts
  int64_t prompt_scores_saved = 0;  // plans times prompts that racing did not have to score
  // The hypervolume, in the units of GenerationReport, of the surrogate's exact front over all
  // layer-wise plans, after the surrogate was fitted to all scores. It is a guess at the best
  // possible hypervolume. Empty without a surrogate.
  std::optional<double> surrogate_hypervolume;
  std::vector<GenerationReport> generations = {};
  std::optional<AnswerSearch> answers = std::nullopt;
};

// The "search" object of front.json (docs/artifacts.md).
Json ToJson(const SearchSummary& summary);
SearchSummary SearchSummaryFromJson(JsonFields fields);

}  // namespace kvtune
