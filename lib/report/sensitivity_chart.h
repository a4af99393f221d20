// The sensitivity of every layer as a bar chart, with the fragile layers named.
#pragma once

#include <cstddef>
#include <string>

#include "lib/core/diagnosis.h"
#include "lib/core/sensitivity.h"

namespace kvtune {

// One bar for each layer: the error of its attention output under the diagnosis' safe key format
// with the target's best value format, of the worst KV head. Fragile layers have beside them what
// they need and what stands out in them. Where the target quantizes no keys, the bars are those of
// the pair with the fewest bits. `width` is as in TextTable::Render.
std::string SensitivityChart(const SensitivityTable& table, const Diagnosis& diagnosis,
                             size_t width, bool unicode);

}  // namespace kvtune
