// The end of a search for people: a few plans, three answers and the next command.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

#include "lib/core/diagnosis.h"
#include "lib/core/objective.h"
#include "lib/core/pareto_front.h"
#include "lib/core/plan_comparison.h"

namespace kvtune {

inline constexpr double kSmallestLoss = 0.01;  // of KL, nats per token
inline constexpr size_t kMostRows = 8;

// What the summary shows, and which plans it names as answers (lib/run/summary_choice.h chooses
// them). All pointers are into the front, and nullptr where there is no such plan.
struct SummaryChoice {
  ScoreSet scores = ScoreSet::kCalibration;  // by which plans are compared
  const ScoredPlan* reference = nullptr;     // the target's 8-bit uniform plan
  // Its uniform plans of 4 bits with the largest and with the smallest loss.
  const ScoredPlan* four_bits = nullptr;
  const ScoredPlan* best_four_bits = nullptr;
  // The smallest plan that is shown to be as good as the reference, perhaps the reference itself,
  // and a smaller one of which more prompts may show it.
  const ScoredPlan* like_eight_bits = nullptr;
  std::optional<PlanComparison> like_comparison;
  const ScoredPlan* undecided = nullptr;
  std::optional<PlanComparison> undecided_comparison;
  // The knee of the front below the reference (lib/core/front_knees.h).
  const ScoredPlan* recommended = nullptr;
  // The smallest measured plan whose loss, with its interval, is at most kSmallestLoss.
  const ScoredPlan* smallest = nullptr;
  // The fastest of these, in a search by time.
  const ScoredPlan* fastest = nullptr;
  // What the table shows, at most kMostRows plans, most bytes first, each once.
  std::vector<const ScoredPlan*> rows;
};

struct SummaryOptions {
  std::string run;  // the run directory, as a user would type it
  std::optional<Diagnosis> diagnosis;
  size_t width = 0;  // as in TextTable::Render; without a limit there are no bars
  bool unicode = false;
};

// The chosen plans with the held-out loss, its interval and the share of bf16's bytes; why 4 bits
// everywhere are not enough; the answers; the command that exports the recommended plan. Without a
// limit on the width, which is a pipe or a file, all plans are in the table.
std::string FrontSummary(const ParetoFront& front, const SummaryChoice& choice,
                         const SummaryOptions& options);

// A plan in few letters: "KV4; 0,5 K8V2; 7 KV8".
std::string ShortPlanText(const PrecisionPlan& plan);

}  // namespace kvtune
