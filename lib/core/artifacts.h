// One owner for every file name that kvtune writes, and their schema versions.
#pragma once

#include <filesystem>
#include <string>

#include "lib/base/json_fields.h"

namespace kvtune {

// Raised when a field changes its meaning; readers refuse any other number.
inline constexpr int64_t kSchemaVersion = 1;

// The files of a run directory.
class RunDirectory {
 public:
  explicit RunDirectory(std::filesystem::path root) : root_(std::move(root)) {}

  const std::filesystem::path& root() const { return root_; }
  std::filesystem::path run() const { return root_ / "run.json"; }
  std::filesystem::path sensitivity() const { return root_ / "sensitivity.json"; }
  std::filesystem::path candidates() const { return root_ / "candidates.json"; }
  std::filesystem::path groups() const { return root_ / "groups.json"; }
  std::filesystem::path evaluations() const { return root_ / "evaluations.jsonl"; }
  std::filesystem::path front() const { return root_ / "front.json"; }

 private:
  std::filesystem::path root_;
};

// Opens an artifact's top object: checks that it is one and that schema_version is ours. `command`
// is what makes the file and is named when it is missing ("kvtune calibrate").
JsonFields OpenArtifact(const Json& json, const std::string& source);

// Reads an artifact file; when it is missing says which command writes it.
Json ReadArtifact(const std::filesystem::path& path, const std::string& command);

}  // namespace kvtune
