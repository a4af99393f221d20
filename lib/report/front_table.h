// Scored plans as a table, and sentences that say what a front is worth against uniform plans.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "lib/core/objective.h"
#include "lib/core/pareto_front.h"

namespace kvtune {

// Writes a loss with three digits and few letters: "0.0126", "7.50e-5", "0".
std::string LossText(double loss);

// Returns one line for each plan: name, bits, bytes per token, milliseconds where they are known,
// loss, 99.9 % KL, top-1 agreement, the held-out loss with its interval when there is one, and the
// layers. `width` is as in
// TextTable::Render. When it is too small for all columns, the least needed ones are left out.
// Marks that occur in the table are explained below it.
std::string PlanTable(std::span<const ScoredPlan> plans, size_t width);

// Returns the front and the uniform plans in one table, most bytes first. Uniform plans are marked,
// and those that a layer-wise plan beats name that plan. A front plan that ties with a smaller one
// names it ("= p07").
std::string FrontTable(const ParetoFront& front, size_t width);

// A uniform plan and the layer-wise plan of the front that beats it. Among the plans with no more
// bytes (and no more time, where it is known) whose loss is lower by more than the run's noise
// floor, that is the one with the lowest loss; it is nullptr when nothing beats the uniform plan. A
// uniform plan that is on the front itself never counts as the plan that beats, because choosing it
// needs no search.
struct UniformComparison {
  const ScoredPlan* uniform = nullptr;
  const ScoredPlan* beaten_by = nullptr;
};

// Returns one entry for each uniform plan, in the order of the uniform plans. REQUIRES: front
// outlives the result.
std::vector<UniformComparison> CompareWithUniform(const ParetoFront& front);

// Returns "Layer-wise plans beat 7 of 9 uniform plans at equal or fewer bytes: ...". When they beat
// none, the sentence says so.
std::string UniformSentence(const ParetoFront& front);

// Among the plans of the front that have fewer bytes than `plan`, no more time, and whose loss
// (ComparableScores) is closer to that of `plan` than the run's noise floor, returns the one with
// the fewest bytes. Returns nullptr when there is none or when no noise floor is known.
const ScoredPlan* SmallestTie(const ParetoFront& front, const ScoredPlan& plan);

// Explains the ties that FrontTable shows; empty when there are none.
std::string TieSentence(const ParetoFront& front);

// Says how much of the plans' savings page padding may take away. `engine` is the name of the
// target. Empty when nothing is padded.
std::string PaddingSentence(std::span<const ScoredPlan> plans, std::string_view engine);
std::string PaddingSentence(const ParetoFront& front);

// Says which step the column of milliseconds is about; empty where plans have no time.
std::string LatencySentence(const ParetoFront& front);

// Says how the search went: the plans scored, what racing saved, and the hypervolume by generation
// and as a share of the surrogate's. Empty when the front has no summary of its search.
std::string SearchSentences(const ParetoFront& front);

}  // namespace kvtune
