// What a plan's measurement was when it was accepted: the file that a gate compares with.
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
  std::string name;  // of the config
  Provenance run;    // with the noise floor
  PrecisionPlan plan;
  Measurement measured;
};

// {"schema_version", "baselines": [...]}: one file may serve several configs.
// Throws Error: missing, empty, cut off, of another schema; two baselines of one name; a number
// that no measurement can give.
std::vector<Baseline> ReadBaselines(const std::filesystem::path& file);
// Replaces the baseline of the same name or adds it; creates the file and its folder.
void WriteBaseline(const std::filesystem::path& file, const Baseline& baseline);

// Throws Error naming `file` and the names that it has.
const Baseline& FindBaseline(const std::vector<Baseline>& baselines, std::string_view name,
                             const std::filesystem::path& file);

enum class ModelChange { kRefuse, kAccept };

// Throws Error with both values: another model (unless accepted), prompt set, target, prefill,
// context or number of layers.
void RequireComparable(const Baseline& baseline, const Provenance& now, ModelChange change,
                       const std::filesystem::path& file);

// Throws Error with both counts when `now` is not of as many prompts, each of as many tokens.
void RequireSameCounts(const Baseline& baseline, const Measurement& now,
                       const std::filesystem::path& file);

// What a new baseline changes, one line a difference; empty when nothing does.
std::vector<std::string> ChangesOf(const Baseline& before, const Baseline& after);

// FOLDER/baselines/NAME.json of the config FOLDER/NAME.json.
std::filesystem::path DefaultBaselineFile(const std::filesystem::path& config);

}  // namespace kvtune
