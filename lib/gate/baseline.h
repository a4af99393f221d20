// A baseline is what was measured of a plan when it was accepted. The gate compares later
// measurements with it.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "lib/base/json_fields.h"
#include "lib/core/precision_plan.h"
#include "lib/core/provenance.h"
#include "lib/gate/measurement.h"

namespace kvtune {

struct Baseline {
  std::string name;  // the config's name
  Provenance run;    // includes the noise floor
  PrecisionPlan plan;
  Measurement measured;
  std::string task_hash = {};  // of all that the verdicts on the task's items depend on, if any
};

// {"schema_version", "baselines": [...]}: one file may serve several configs. Throws Error for a
// file that is missing, empty, cut off or of another schema, for two baselines of one name, and for
// a number that no measurement can give.
std::vector<Baseline> ReadBaselines(const std::filesystem::path& file);
// Does the same with the content of a file, which messages call `source`.
std::vector<Baseline> ParseBaselines(std::string_view text, const std::string& source);
// Replaces the baseline of the same name in the file, or adds it. Creates the file and its folder
// when they do not exist.
void WriteBaseline(const std::filesystem::path& file, const Baseline& baseline);

// Finds a baseline by its name. Throws Error naming `file` and the names that it has.
const Baseline& FindBaseline(const std::vector<Baseline>& baselines, std::string_view name,
                             const std::filesystem::path& file);

enum class ModelChange { kRefuse, kAccept };

// Throws Error with both values when the baseline was measured with another model (unless `change`
// accepts that), prompt set, target, prefill mode, context or number of layers, because the
// measurements then cannot be compared.
void RequireComparable(const Baseline& baseline, const Provenance& now, ModelChange change,
                       const std::filesystem::path& file);

// Throws Error with both counts when `now` is not of as many prompts, each of as many tokens.
void RequireSameCounts(const Baseline& baseline, const Measurement& now,
                       const std::filesystem::path& file);

// Throws Error with both values when the answers in the baseline are of other items than `count`
// items with this hash. An empty hash stands for no task.
void RequireSameTask(const Baseline& baseline, const std::string& task_hash, size_t count,
                     const std::filesystem::path& file);

// What a new baseline changes, one line for each difference; empty when there is none.
std::vector<std::string> ChangesOf(const Baseline& before, const Baseline& after);

// The baseline file of a config that names none: FOLDER/baselines/NAME.json for the config
// FOLDER/NAME.json.
std::filesystem::path DefaultBaselineFile(const std::filesystem::path& config);

}  // namespace kvtune
