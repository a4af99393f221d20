// Plans by what they do on a task, as a table and in sentences.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include "lib/core/pareto_front.h"

namespace kvtune {

// Returns one line for each plan: name, bits, bytes per token, the share of right answers with its
// standard error, answers lost and gained against the exact model with McNemar's p, the interval of
// the difference in points, tokens and invalid answers. Where plans were chosen by their answers,
// also the share on the items of the search. `width` is as in TextTable::Render. REQUIRES: all
// plans have an accuracy.
std::string AccuracyTable(std::span<const ScoredPlan> plans, size_t width);

// The plan of the fewest bytes that is not worse than the exact one (IsWorse), or nullptr.
const ScoredPlan* SmallestNotWorse(std::span<const ScoredPlan> plans);

// Says what the exact model does, which is the smallest plan that is not worse, and how many items
// would show a difference of one point. REQUIRES: all plans have an accuracy on the same items.
std::string AccuracySentences(std::span<const ScoredPlan> plans, const ScoredPlan& exact);

// Says on how many items plans were searched and on how many they are tested.
std::string SplitSentence(const AnswerSearch& answers);

// How far the losses of plans (held-out where all have them) and their accuracies agree: Spearman's
// rank correlation, and the two plans that the task orders most clearly against their losses.
// Empty for fewer than three plans, or where all are equal. REQUIRES: all plans have an accuracy.
std::string AgreementSentence(std::span<const ScoredPlan> plans);

}  // namespace kvtune
