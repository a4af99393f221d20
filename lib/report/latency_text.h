// A latency table for people.
#pragma once

#include <string>

#include "lib/core/latency_table.h"

namespace kvtune {

// Writes milliseconds with three or four digits: "0.0421", "1.337", "25.2".
std::string MillisecondsText(double milliseconds);

// For each setting the steps of the plans, beside bf16, and the attention of every pair. `width` is
// that of the terminal; 0: no limit.
std::string LatencyText(const LatencyTable& table, size_t width);

}  // namespace kvtune
