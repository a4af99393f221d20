// Which plans of the grouped space to score next, according to the surrogate.
#pragma once

#include <cstddef>
#include <vector>

#include "lib/core/pareto_front.h"
#include "lib/core/precision_plan.h"
#include "search/genome.h"
#include "search/proposals.h"
#include "search/surrogate.h"

namespace kvtune {

// At most `count` plans of the genome that were not scored yet, by descending expected gain in
// hypervolume over the scored plans and the proposals before them. Candidates are the plans on the
// surrogate's exact front over the groups (AdditiveFront) and all plans that differ from one of
// them in a single gene, because plans close behind that front are on the real front as often. The
// expected gain is the average of two gains: with a loss 0.06 decades lower and 0.06 decades higher
// than predicted. A plan that is predicted to be as good as a scored one may be better, and without
// this allowance nothing would be left to score as soon as the surrogate's own front is scored.
// Returns fewer plans when no others promise a gain. The same arguments give the same plans.
// REQUIRES: what PredictLoss requires, for every plan of the genome.
std::vector<PrecisionPlan> ProposeGroupedPlans(const Genome& genome, const LayerLosses& losses,
                                               const CostFunction& cost, const ScoredSpace& scored,
                                               size_t count);

}  // namespace kvtune
