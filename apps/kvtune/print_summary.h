// Prints the end of a search, as `search`, `pareto list` and `pareto merge` do.
#pragma once

#include <filesystem>
#include <optional>
#include <string>

#include "lib/core/diagnosis.h"
#include "lib/core/pareto_front.h"

namespace kvtune {

// The sentences below a table of a front: what layer-wise plans gain, how far the scores can be
// trusted, and what of the target's cache limits the plans.
std::string SentencesBelow(const ParetoFront& front);

// What the plans of a front and the uniform ones do on a task, as a table and sentences behind an
// empty line; empty where they were not asked.
std::string AnswersText(const ParetoFront& front);

// Prints the summary of the front in a run directory, and the answers of its plans. Throws Error as
// ReadFrontByPrompt.
void PrintSummary(const std::filesystem::path& run, std::optional<Diagnosis> diagnosis);

}  // namespace kvtune
