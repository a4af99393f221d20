// The first config of a plan.
#pragma once

#include <filesystem>
#include <string>

namespace kvtune {

// Writes a config for the plan RUN:NAME to `out`: the run's model, prompts and target, and limits
// with room above what the run measured. Throws Error: no such run or plan, a file that is there
// already.
void WriteGateConfig(const std::string& run_and_name, const std::filesystem::path& out);

}  // namespace kvtune
