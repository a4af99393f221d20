// The plans of the first generation: first those that are known to be good, then random ones of
// every size.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "lib/core/precision_plan.h"
#include "search/genome.h"

namespace kvtune {

// Returns the genes of `size` plans. First come the `seeds`, projected onto the groups, in their
// order, without repetitions and as far as there is room; random plans fill the rest. Genes repeat
// only where as many draws as 16 for each plan have found no others.
std::vector<Genes> FirstGeneration(const Genome& genome, std::span<const PrecisionPlan> seeds,
                                   size_t size, uint64_t random_seed);

}  // namespace kvtune
