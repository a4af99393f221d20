// What searches of many models came to, one row for each.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

#include "lib/core/pareto_front.h"

namespace kvtune {

struct ModelRow {
  std::string name;
  std::optional<ScoredPlan> recommended;  // nullopt where there is none
  double exact_bytes_per_token = 0;       // of the exact plan
  std::string problem;                    // why there is no result; empty: there is one
};

// Model, recommended plan, bytes per token and their share of bf16, effective bits, the loss (on
// held-out prompts where there are some), and the layers.
std::string ModelsTable(const std::vector<ModelRow>& rows, size_t width);

}  // namespace kvtune
