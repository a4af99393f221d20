// Prints the end of a search, as `search`, `pareto list` and `pareto merge` do.
#pragma once

#include <filesystem>
#include <optional>

#include "lib/core/diagnosis.h"
#include "lib/core/pareto_front.h"

namespace kvtune {

// REQUIRES: the front has the single prompts of its plans (ReadFrontByPrompt).
void PrintSummary(const ParetoFront& front, const std::filesystem::path& run,
                  std::optional<Diagnosis> diagnosis);

}  // namespace kvtune
