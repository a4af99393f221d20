// Reads a run directory for the HTML report: whatever files it has, whether the run is finished or
// not.
#pragma once

#include <filesystem>

#include "lib/report/report_data.h"

namespace kvtune {

// Only run.json has to be there; what else the run lacks is named in the result, with the command
// that makes it. Nothing is locked, so that a search may be looked at while it works. Throws Error
// for a file that cannot be read, or that is not of this run.
RunReport ReadRunReport(const std::filesystem::path& run);

}  // namespace kvtune
