// The plans that NSGA-II starts from: known good ones first, then random ones of every size.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "lib/core/precision_plan.h"
#include "search/genome.h"

namespace kvtune {

// `size` genes: `seeds` projected onto the groups, in their order and as far as there is room,
// without repetitions; then random plans. Genes repeat only when the space is too small for others.
std::vector<Genes> FirstGeneration(const Genome& genome, std::span<const PrecisionPlan> seeds,
                                   size_t size, uint64_t random_seed);

}  // namespace kvtune
