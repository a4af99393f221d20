// Which plans of a front the summary at the end of a search shows, and which it names as answers.
#pragma once

#include <vector>

#include "lib/core/objective.h"
#include "lib/core/pareto_front.h"

namespace kvtune {

// All pointers are into the front, and nullptr where there is no such plan.
struct SummaryChoice {
  ScoreSet scores = ScoreSet::kCalibration;  // by which plans are compared
  const ScoredPlan* reference = nullptr;     // the target's 8-bit uniform plan
  const ScoredPlan* four_bits = nullptr;     // its best uniform plan of 4 bits
  // The knee of the front between the reference and the smallest plan: from here on, bytes saved
  // cost more loss than before.
  const ScoredPlan* recommended = nullptr;
  const ScoredPlan* smallest = nullptr;  // with at most kSmallestLoss
  // What the table shows, most bytes first, each plan once: the plans above, FP8 everywhere where
  // the target has it, and further knees of the front.
  std::vector<const ScoredPlan*> rows;
};

inline constexpr double kSmallestLoss = 0.01;
inline constexpr size_t kMostRows = 8;

// REQUIRES: the front outlives the result.
SummaryChoice ChooseForSummary(const ParetoFront& front);

}  // namespace kvtune
