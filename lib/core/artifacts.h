// One owner for every file name that kvtune writes, their schema version, and the rules that all of
// them share: numbers are finite, precision pairs are written with their formats.
#pragma once

#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "lib/base/json_fields.h"
#include "lib/core/precision_plan.h"

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
  std::filesystem::path diagnosis() const { return root_ / "diagnosis.json"; }
  std::filesystem::path candidates() const { return root_ / "candidates.json"; }
  std::filesystem::path groups() const { return root_ / "groups.json"; }
  std::filesystem::path evaluations() const { return root_ / "evaluations.jsonl"; }
  // Scores of single layers, and on held-out prompts; as evaluations.jsonl.
  std::filesystem::path scouting() const { return root_ / "scouting.jsonl"; }
  std::filesystem::path held_out() const { return root_ / "held_out.jsonl"; }
  std::filesystem::path lock() const { return root_ / "run.lock"; }
  std::filesystem::path front() const { return root_ / "front.json"; }

  // All of the above: whatever kvtune may write into the directory.
  std::vector<std::filesystem::path> files() const;

 private:
  std::filesystem::path root_;
};

// Opens an artifact's top object: checks that it is one, that schema_version is ours and that every
// number is finite. `source` names the file in messages.
JsonFields OpenArtifact(const Json& json, const std::string& source);

// Reads an artifact file; when it is missing says which command writes it ("kvtune calibrate").
Json ReadArtifact(const std::filesystem::path& path, const std::string& command);

// Throws Error naming the first number that is not finite: JSON has no spelling for it, so it would
// turn into null. `where` names the document.
void RequireFinite(const Json& json, const std::string& where);

// {"key": "int8", "value": "int4"}.
Json PairFormatsToJson(PrecisionPair pair);
PrecisionPair PairFormatsFromJson(JsonFields fields);

// Adds "pairs", the labels, and "pair_formats", what they stand for: a label alone says its formats
// only together with the target ("KV4" is int4 under one and kivi_int4 under another).
// Throws Error when two pairs have the same label.
void WritePairs(Json& object, std::span<const PrecisionPair> pairs);
std::vector<PrecisionPair> ReadPairs(JsonFields& fields);

// The labels of `pairs` as an array of strings.
Json PairLabelsToJson(std::span<const PrecisionPair> pairs);
// Reads the array of labels `key`, each one of `pairs`. Throws Error when a label is unknown or
// given twice, or when there is none.
std::vector<PrecisionPair> ReadPairLabels(JsonFields& fields, std::string_view key,
                                          std::span<const PrecisionPair> pairs);

// The distinct pairs, most nominal bits first, keys' bits first among equals.
std::vector<PrecisionPair> DistinctPairs(std::vector<PrecisionPair> pairs);

// A count or index that must not be negative.
size_t ReadCount(JsonFields& fields, std::string_view key);

}  // namespace kvtune
