// Scored plans as a table, and what a front is worth against uniform plans, in a sentence.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "lib/core/objective.h"
#include "lib/core/pareto_front.h"

namespace kvtune {

// One line a plan: name, bits, bytes per token, loss, 99.9 % KL, top-1 agreement, the held-out loss
// with its interval where there is one, and the layers. `width` as in TextTable::Render; where it
// is too small for all, the least needed columns are left out.
std::string PlanTable(std::span<const ScoredPlan> plans, size_t width);

// The front and the uniform plans in one table, most bytes first. Uniform plans are marked; those
// that a layer-wise plan beats say which one. A front plan with a tie says its name ("= p07").
std::string FrontTable(const ParetoFront& front, size_t width);

// A uniform plan and the layer-wise plan of the front that beats it: the one with the lowest loss
// among those with less loss, by more than the run's noise floor, at no more bytes; nullptr when
// nothing beats the uniform plan. Uniform plans that are on the front themselves do not count: to
// choose one needs no search.
struct UniformComparison {
  const ScoredPlan* uniform = nullptr;
  const ScoredPlan* beaten_by = nullptr;
};

// The losses that plans are compared by: held-out where all have them, else calibration.
ScoreSet ComparableScores(const ParetoFront& front);

// One entry a uniform plan, in their order. REQUIRES: front outlives the result.
std::vector<UniformComparison> CompareWithUniform(const ParetoFront& front);

// "Layer-wise plans beat 7 of 9 uniform plans at equal or fewer bytes: ...". Says so when they beat
// none.
std::string UniformSentence(const ParetoFront& front);

// The plan of the front with the fewest bytes, and fewer than `plan`, whose calibration loss is
// closer to plan's than the run's noise floor; nullptr when there is none or no floor is known.
const ScoredPlan* SmallestTie(const ParetoFront& front, const ScoredPlan& plan);

// What the ties of FrontTable mean; empty without any.
std::string TieSentence(const ParetoFront& front);

// What page padding may take away of the plans' savings, `engine` by its target's name; empty where
// nothing is padded.
std::string PaddingSentence(std::span<const ScoredPlan> plans, std::string_view engine);
std::string PaddingSentence(const ParetoFront& front);

// How the search went: plans scored, what racing saved, hypervolume by generation and its share of
// the surrogate's. Empty without a summary.
std::string SearchSentences(const ParetoFront& front);

}  // namespace kvtune
