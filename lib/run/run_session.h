// A run directory while a command works in it. It knows what was made there, from which inputs and
// with which options.
//
// run.json records the inputs once and every stage's options. A directory that was made from other
// inputs or options is refused with an error that names the difference, so that the files of a
// directory always belong together. A directory in which another process works is refused too.
#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "lib/base/file_lock.h"
#include "lib/base/json_fields.h"
#include "lib/core/artifacts.h"
#include "lib/core/provenance.h"
#include "lib/run/run_options.h"

namespace kvtune {

// The stages of a run, in order: each needs those before it.
enum class Stage { kCalibrate, kPrune, kCluster, kSearch };
inline constexpr Stage kStages[] = {Stage::kCalibrate, Stage::kPrune, Stage::kCluster,
                                    Stage::kSearch};

// The stage's name, for example "calibrate", as in `kvtune calibrate` and run.json.
std::string_view StageName(Stage stage);

// The content of run.json.
struct RunRecord {
  Provenance run;
  // For each stage that started, by its name: {"options", "finished", ...}.
  Json stages = Json::object();
};
// `source` names the file in messages. Throws Error.
RunRecord RunRecordFromJson(const Json& json, const std::string& source);

class RunSession {
 public:
  // Creates the directory or opens one that was made from the same inputs.
  // Throws Error naming directory, option, what was found there and what was expected.
  RunSession(std::filesystem::path root, const Provenance& wanted,
             std::vector<std::string> command_line);
  // Opens an existing directory, whatever inputs it was made from.
  RunSession(std::filesystem::path root, std::vector<std::string> command_line);

  const RunDirectory& directory() const { return directory_; }
  const Provenance& run() const { return run_; }

  // `options` maps flags to values. Throws Error when `stage` ran in this directory with other
  // options.
  void RequireSameOptions(Stage stage, const Json& options) const;

  // Whether the stage's file exists and was made with these options, so that it can be read instead
  // of made again. A file that was made with other options may be replaced as long as nothing was
  // made from it. Throws Error when a later stage did use it.
  bool CanReuse(Stage stage, const Json& options) const;

  // Records that a stage starts and with which options. Nothing is written until Save or Finish, so
  // that options which the stage then refuses do not bind the directory.
  void Start(Stage stage, Json options);
  // Writes run.json. From then on the directory accepts no other options for the stages that
  // started.
  void Save() const;
  // Records that the stage's file is complete, how long it took since Start and, unless it is 0,
  // how much of a GPU's memory the process has taken at most, and writes run.json.
  void Finish(Stage stage, int64_t peak_device_bytes = 0);

  // The file that the stage writes.
  std::filesystem::path FileOf(Stage stage) const;
  // The stage's file as JSON. Throws Error when it is missing or comes from another run than
  // run.json says.
  Json Read(Stage stage) const;

 private:
  void Load();
  bool Recorded(Stage stage) const;
  bool AnyLaterRecorded(Stage stage) const;

  RunDirectory directory_;
  std::optional<FileLock> lock_;
  Provenance run_;
  std::vector<std::string> command_line_;
  Json stages_ = Json::object();
  double started_seconds_ = 0;
};

// The folder that was asked for, or its default ./kvtune-<model name>-<target>.
std::filesystem::path RunDirectoryOf(const RunPlace& place, const RunInputs& inputs);

// The model, the prompts and the held-out prompts that the user named, as paths.
std::vector<std::filesystem::path> InputPathsOf(const RunInputs& inputs, const RunPlace& place);

// Throws Error when `path` cannot become a directory that files can be written in. Creates nothing,
// so that a command can check this before it loads the model.
void RequireCreatableDirectory(const std::filesystem::path& path);

// Throws Error when a run in `path` would write over what is not its own: a folder without run.json
// that holds a file of a run's names, a symbolic link in place of a run's file, one of the run's
// `inputs`, the root of the file system. Creates nothing.
void RequireOwnDirectory(const std::filesystem::path& path,
                         std::span<const std::filesystem::path> inputs);

}  // namespace kvtune
