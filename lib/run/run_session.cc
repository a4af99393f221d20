#include "lib/run/run_session.h"

#include <fmt/chrono.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <ctime>

#include "lib/base/error.h"
#include "lib/base/file.h"
#include "lib/base/log.h"
#include "lib/io/checkpoint.h"

namespace kvtune {
namespace {

namespace fs = std::filesystem;

double Now() {
  using namespace std::chrono;
  return duration<double>(steady_clock::now().time_since_epoch()).count();
}

std::string UtcTime() {
  return fmt::format("{:%Y-%m-%dT%H:%M:%SZ}", fmt::gmtime(std::time(nullptr)));
}

std::string ValueText(const Json& value) {
  return value.is_string() ? value.get<std::string>() : value.dump();
}

[[noreturn]] void FailResume(const fs::path& root, const std::string& difference) {
  throw Error(fmt::format("resuming {}: {} (give another --out, or the options of that run)",
                          root.string(), difference));
}

// What FileOf(stage) holds.
Artifact ArtifactOf(Stage stage) {
  switch (stage) {
    case Stage::kCalibrate:
      return Artifact::kSensitivity;
    case Stage::kPrune:
      return Artifact::kCandidates;
    case Stage::kCluster:
      return Artifact::kGroups;
    case Stage::kSearch:
      return Artifact::kFront;
  }
  return {};
}

// All differences in one line; empty when there is none. The seed comes first: it also chooses the
// prompts, so another seed alone shows as other prompts too.
std::string DifferenceText(const Provenance& stored, const Provenance& wanted) {
  std::vector<std::string> differences = Differences(stored, wanted);
  std::stable_partition(differences.begin(), differences.end(),
                        [](const std::string& text) { return text.starts_with("--seed"); });
  return fmt::format("{}", fmt::join(differences, "; "));
}

// "--epsilon: found 0.1 there, expected 0" of the first flag whose values differ; empty when none.
std::string FirstDifference(const Json& stored, const Json& wanted) {
  for (const auto& [flag, value] : wanted.items()) {
    const Json found = stored.value(flag, Json());
    // A file may be named in another way, where its content is the same.
    const std::string content = flag + " (content)";
    if (wanted.contains(content) && wanted[content] == stored.value(content, Json())) continue;
    if (found != value) {
      return fmt::format("{}: found {} there, expected {}", flag, ValueText(found),
                         ValueText(value));
    }
  }
  // Options of some searches only are there only where they are given.
  for (const auto& [flag, value] : stored.items()) {
    if (wanted.contains(flag) || value.is_null()) continue;
    return fmt::format("{}: found {} there, expected none", flag, ValueText(value));
  }
  return "";
}

// Whether a process that ended before it wrote run.json can have left this.
bool IsAbandonedLock(const fs::path& file, const RunDirectory& directory) {
  std::error_code ignored;
  return file == directory.lock() && fs::is_regular_file(fs::symlink_status(file, ignored)) &&
         fs::file_size(file, ignored) == 0;
}

void RequireOwnFiles(const RunDirectory& directory) {
  std::error_code ignored;
  const bool is_run = fs::exists(fs::symlink_status(directory.run(), ignored));
  for (const fs::path& file : directory.files()) {
    const fs::file_status status = fs::symlink_status(file, ignored);
    if (!fs::exists(status)) continue;
    if (!is_run && !IsAbandonedLock(file, directory)) {
      throw Error(fmt::format(
          "preparing the output folder {}: found {} but no run.json, expected the folder of a run "
          "or one without such a file, which would be overwritten (give another --out)",
          directory.root().string(), file.filename().string()));
    }
    if (!fs::is_regular_file(status)) {
      throw Error(
          fmt::format("preparing the output folder {}: found that {} is {}, expected a "
                      "regular file (give another --out)",
                      directory.root().string(), file.filename().string(),
                      fs::is_symlink(status) ? "a symbolic link" : "something else"));
    }
  }
}

// Also through links, or where one of the two is a hard link.
bool IsSame(const fs::path& a, const fs::path& b) {
  std::error_code ignored;
  return fs::equivalent(a, b, ignored);
}

void RequireNoInput(const RunDirectory& directory, const fs::path& input) {
  std::vector<fs::path> written = directory.files();
  written.push_back(directory.root());
  for (const fs::path& path : written) {
    if (!IsSame(path, input)) continue;
    throw Error(fmt::format(
        "preparing the output folder {}: found that its {} is the input {}, expected a folder "
        "apart from the inputs (give another --out)",
        directory.root().string(), path == directory.root() ? "path" : path.filename().string(),
        input.string()));
  }
}

}  // namespace

std::string_view StageName(Stage stage) {
  switch (stage) {
    case Stage::kCalibrate:
      return "calibrate";
    case Stage::kPrune:
      return "prune";
    case Stage::kCluster:
      return "cluster";
    case Stage::kSearch:
      return "search";
  }
  return "";
}

RunSession::RunSession(fs::path root, const Provenance& wanted,
                       std::vector<std::string> command_line)
    : directory_(std::move(root)), run_(wanted), command_line_(std::move(command_line)) {
  RequireOwnDirectory(directory_.root(), {});
  if (!fs::exists(directory_.run())) {
    CreateWritableDirectory(directory_.root());
  }
  lock_.emplace(directory_.lock(), directory_.root());
  if (!fs::exists(directory_.run())) return;
  Load();
  const std::string differences = DifferenceText(run_, wanted);
  if (!differences.empty()) FailResume(directory_.root(), differences);
  LogInfo(fmt::format("resuming {}", directory_.root().string()));
}

RunSession::RunSession(fs::path root, std::vector<std::string> command_line)
    : directory_(std::move(root)), command_line_(std::move(command_line)) {
  if (fs::exists(directory_.run())) {
    RequireOwnDirectory(directory_.root(), {});
    lock_.emplace(directory_.lock(), directory_.root());
  }
  Load();
}

RunRecord RunRecordFromJson(const Json& json, const std::string& source) {
  JsonFields fields = OpenArtifact(json, source);
  RunRecord record;
  record.run = ProvenanceFromJson(fields.Object("run"));
  JsonFields stages = fields.Object("stages");
  const std::vector<std::string> recorded = stages.Keys();
  for (const Stage stage : kStages) {
    if (std::ranges::find(recorded, StageName(stage)) == recorded.end()) continue;
    JsonFields of_stage = stages.Object(StageName(stage));
    of_stage.Object("options");
    of_stage.Bool("finished");
  }
  stages.RequireNoOthers();
  record.stages = fields.Value("stages");
  fields.RequireNoOthers();
  return record;
}

void RunSession::Load() {
  RunRecord record =
      RunRecordFromJson(ReadArtifact(directory_.run(), Artifact::kRun), directory_.run().string());
  run_ = std::move(record.run);
  stages_ = std::move(record.stages);
}

void RunSession::Save() const {
  WriteJsonFileAtomically(
      directory_.run(),
      {{"schema_version", kSchemaVersion}, {"run", ToJson(run_)}, {"stages", stages_}});
}

bool RunSession::Recorded(Stage stage) const { return stages_.contains(StageName(stage)); }

bool RunSession::AnyLaterRecorded(Stage stage) const {
  for (const Stage later : kStages) {
    if (later > stage && Recorded(later)) return true;
  }
  return false;
}

void RunSession::RequireSameOptions(Stage stage, const Json& options) const {
  if (!Recorded(stage)) return;
  const std::string difference =
      FirstDifference(stages_[std::string(StageName(stage))]["options"], options);
  if (!difference.empty()) FailResume(directory_.root(), difference);
}

bool RunSession::CanReuse(Stage stage, const Json& options) const {
  if (AnyLaterRecorded(stage)) RequireSameOptions(stage, options);
  if (!Recorded(stage) || !fs::exists(FileOf(stage))) return false;
  const Json& record = stages_[std::string(StageName(stage))];
  return record["finished"].get<bool>() && FirstDifference(record["options"], options).empty();
}

void RunSession::Start(Stage stage, Json options) {
  stages_[std::string(StageName(stage))] = {{"options", std::move(options)},
                                            {"finished", false},
                                            {"command", command_line_},
                                            {"started", UtcTime()},
                                            {"seconds", nullptr}};
  started_seconds_ = Now();
}

void RunSession::Finish(Stage stage, int64_t peak_device_bytes) {
  Json& record = stages_[std::string(StageName(stage))];
  record["finished"] = true;
  record["seconds"] = Now() - started_seconds_;
  if (peak_device_bytes > 0) record["peak_device_bytes"] = peak_device_bytes;
  Save();
}

fs::path RunSession::FileOf(Stage stage) const {
  switch (stage) {
    case Stage::kCalibrate:
      return directory_.sensitivity();
    case Stage::kPrune:
      return directory_.candidates();
    case Stage::kCluster:
      return directory_.groups();
    case Stage::kSearch:
      return directory_.front();
  }
  return {};
}

Json RunSession::Read(Stage stage) const {
  const fs::path path = FileOf(stage);
  Json json = ReadArtifact(path, ArtifactOf(stage));
  JsonFields fields = OpenArtifact(json, path.string());
  const std::string differences = DifferenceText(ProvenanceFromJson(fields.Object("run")), run_);
  if (!differences.empty()) {
    throw Error(fmt::format("reading {}: it is not of this run: {}", path.string(), differences));
  }
  return json;
}

fs::path RunDirectoryOf(const RunPlace& place, const RunInputs& inputs) {
  if (!place.out.empty()) return place.out;
  return fmt::format("./kvtune-{}-{}", ModelName(inputs.model), inputs.target);
}

std::vector<fs::path> InputPathsOf(const RunInputs& inputs, const RunPlace& place) {
  std::vector<fs::path> paths = inputs.prompts.files;
  paths.push_back(inputs.model);
  if (!place.held_out.empty() && place.held_out != "none") paths.emplace_back(place.held_out);
  return paths;
}

void RequireCreatableDirectory(const fs::path& path) {
  fs::path existing = fs::absolute(path);
  std::error_code ignored;
  while (!fs::exists(existing, ignored) && existing.has_relative_path()) {
    existing = existing.parent_path();
  }
  const std::string doing = fmt::format("preparing the output folder {}", path.string());
  if (!fs::is_directory(existing, ignored)) {
    throw Error(fmt::format("{}: found that {} is not a directory, expected one", doing,
                            existing.string()));
  }
  if (::access(existing.c_str(), W_OK | X_OK) != 0) {
    throw Error(fmt::format("{}: {}: {}", doing, existing.string(), std::strerror(errno)));
  }
}

void RequireOwnDirectory(const fs::path& path, std::span<const fs::path> inputs) {
  if (IsSame(path, "/")) {
    throw Error(
        fmt::format("preparing the output folder {}: found the root of the file system, expected a "
                    "folder of its own",
                    path.string()));
  }
  const RunDirectory directory(path);
  RequireOwnFiles(directory);
  for (const fs::path& input : inputs) RequireNoInput(directory, input);
}

}  // namespace kvtune
