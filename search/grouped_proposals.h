// Which plans of the grouped space the surrogate would have scored next.
#pragma once

#include <cstddef>
#include <vector>

#include "lib/core/pareto_front.h"
#include "lib/core/precision_plan.h"
#include "search/genome.h"
#include "search/proposals.h"
#include "search/surrogate.h"

namespace kvtune {

// At most `count` plans of the genome that were not scored, by descending expected gain in
// hypervolume over the scored plans and the proposals before them. Candidates are the exact front
// of the surrogate over the groups (AdditiveFront) and what one other gene makes of its plans,
// since plans close behind that front are on the real one as often. The expected gain is that of
// the predicted loss 0.06 decades lower and higher, averaged: a plan that is predicted to be as
// good as a scored one may be better, and without this nothing would be left to score as soon as
// the surrogate agrees with itself. Fewer when nothing else promises a gain. Same arguments, same
// plans. REQUIRES: as PredictLoss for every plan of the genome.
std::vector<PrecisionPlan> ProposeGroupedPlans(const Genome& genome, const LayerLosses& losses,
                                               const CostFunction& cost, const ScoredSpace& scored,
                                               size_t count);

}  // namespace kvtune
