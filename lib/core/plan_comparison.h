// Whether one plan is as good as another, judged on the same prompts.
//
// Prompts differ in their losses by far more than two good plans do, so the two means say little.
// The ratio of the losses, paired prompt by prompt, says much. Prompts are weighted by their
// tokens, as in the mean loss itself.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "lib/base/json_fields.h"
#include "lib/base/ratio_interval.h"
#include "lib/core/pareto_front.h"
#include "lib/core/plan_score.h"

namespace kvtune {

// The share by which a plan may lose more than the reference and still count as good.
inline constexpr double kDefaultMargin = 0.10;

// Where the interval of the ratio lies. The first that applies holds.
enum class Standing {
  kUndecided,  // too few prompts carry the loss, so that no interval can be claimed
  kAsGood,     // its upper end is at most 1 + margin
  kWorse,      // its lower end is above 1
  kTie,        // it holds 1, but reaches beyond 1 + margin
};
// The standing in words: "undecided", "as good", "worse", "tie".
std::string_view StandingName(Standing standing);

struct ComparisonOptions {
  double margin = kDefaultMargin;
  double confidence = 0.95;
  // Nats per token that rounding alone may make of a loss. A smaller difference is a tie.
  double noise_floor = 0;
};

struct PlanComparison {
  int64_t prompts = 0;
  int64_t worse_prompts = 0;  // prompts on which the plan loses more than the reference
  // The plan's loss over the reference's, both over all tokens. Infinite where only the reference
  // loses nothing.
  double ratio = 1;
  std::optional<Interval> interval;  // of the ratio; nullopt: undecided
  double margin = kDefaultMargin;
  Standing standing = Standing::kUndecided;
  // For a tie or an undecided comparison: with how many prompts in all, if they are like these, the
  // plan would be as good or worse. nullopt when decided, or when a million would not decide.
  std::optional<int64_t> prompts_to_decide;
};

// Whether both scores have their single prompts, and these have the same tokens.
bool CanCompare(const PlanScore& plan, const PlanScore& reference);

// Compares by the loss of the search (lib/core/objective.h). REQUIRES: CanCompare.
PlanComparison ComparePlans(const PlanScore& plan, const PlanScore& reference,
                            const ComparisonOptions& options = {});

// The same for two plans of a run: on held-out prompts when both have such scores, else on
// calibration prompts. nullopt when the scores of that set lack their single prompts.
std::optional<PlanComparison> ComparePlans(const ScoredPlan& plan, const ScoredPlan& reference,
                                           const ComparisonOptions& options = {});

// {"ratio", "interval", "prompts", "worse_prompts", "margin", "standing", "prompts_to_decide"};
// null stands for what is not known.
Json ToJson(const PlanComparison& comparison);

}  // namespace kvtune
