// The version of the files that kvtune writes, which versions of each kind of file it reads, and
// the steps that bring a file of an earlier version up to this one.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "lib/base/json_fields.h"

namespace kvtune {

// The version of the files' schema, the first number of a semantic version. A field that changes
// its meaning, or goes, raises it. A field that is added does not: the reader then says what a file
// without the field means.
inline constexpr int64_t kSchemaVersion = 1;

// Turns the top object of a file of one version into that of the next version, whose number it need
// not write. nullptr where this kind of file stayed as it was.
using SchemaStep = void (*)(Json& json);

// A kind of file, and which versions of it are read.
struct ArtifactKind {
  std::string_view name;     // "sensitivity.json"
  std::string_view made_by;  // the command that writes such a file: "kvtune calibrate"
  int64_t oldest = kSchemaVersion;
  // steps[i] leads from version oldest + i to the one after it; the last step to kSchemaVersion.
  std::span<const SchemaStep> steps = {};

  int64_t newest() const { return oldest + static_cast<int64_t>(steps.size()); }
};

enum class Artifact {
  kRun,
  kSensitivity,
  kDiagnosis,
  kCandidates,
  kGroups,
  kFront,
  kPlan,
  kGateConfig,
  kBaseline,
  kLatency,
};

// The row of the table of all kinds. Every row's newest() is kSchemaVersion.
const ArtifactKind& KindOf(Artifact artifact);
std::span<const ArtifactKind> ArtifactKinds();

// Returns the top object of a file, brought up to the kind's newest version. Throws Error naming
// `source` and the version where the file is of a newer kvtune, or of a version that is no longer
// read; the message then names the command that writes the file anew. A document without an integer
// "schema_version" is returned as it is: its reader knows whether that is a mistake.
Json Upgraded(Json json, const ArtifactKind& kind, const std::string& source);

}  // namespace kvtune
