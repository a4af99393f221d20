// One run out of several that scored plans of one model on the same prompts: searches with other
// seeds, algorithms or limits.
#pragma once

#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "lib/core/pareto_front.h"

namespace kvtune {

// Writes the run directory `out`: the front over the plans of all runs' fronts, and every
// complete score of their logs. Plans of the front get new names by descending bytes.
// sensitivity.json and diagnosis.json are those of the first run. `out` cannot be searched on: its
// search is recorded as this merge. Throws Error when the runs differ in what makes their scores
// comparable, naming the difference, and for an `out` that is not free. REQUIRES: at least two
// runs.
ParetoFront MergeRuns(std::span<const std::filesystem::path> runs, const std::filesystem::path& out,
                      std::vector<std::string> command_line);

}  // namespace kvtune
