// The one place that knows the name of every file that kvtune writes, and the rules that all of
// them share: every number is finite, and every precision pair is written together with the formats
// that it stands for.
#pragma once

#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "lib/base/json_fields.h"
#include "lib/core/precision_plan.h"
#include "lib/core/schema.h"

namespace kvtune {

// The paths of the files in a run directory.
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
  // The scores of plans that quantize a single layer, and the scores on held-out prompts. Both
  // files are written like evaluations.jsonl.
  std::filesystem::path scouting() const { return root_ / "scouting.jsonl"; }
  std::filesystem::path held_out() const { return root_ / "held_out.jsonl"; }
  // What the model answered to the items of a task, written as `kvtune evaluate --samples` does.
  std::filesystem::path answers() const { return root_ / "answers.jsonl"; }
  std::filesystem::path lock() const { return root_ / "run.lock"; }
  std::filesystem::path front() const { return root_ / "front.json"; }

  // All of the above: whatever a stage may write into the directory.
  std::vector<std::filesystem::path> files() const;

  // Throws Error (kUsage) when `out`, the --out of `command`, is one of files(): a result in place
  // of a file of the run would end the run.
  void RequireOutside(const std::filesystem::path& out, std::string_view command) const;

  // The times that a search by time reads, of `kvtune bench` or measured by the search where it is
  // missing.
  std::filesystem::path latency() const { return root_ / "latency.json"; }

  // The page of `kvtune report`, which no stage reads or writes.
  std::filesystem::path report() const { return root_ / "report.html"; }

 private:
  std::filesystem::path root_;
};

// Opens the top object of an artifact. Checks that it is an object, that its schema_version is
// kSchemaVersion (Upgraded makes it so) and that every number is finite. `source` names the file in
// messages.
JsonFields OpenArtifact(const Json& json, const std::string& source);

// Reads an artifact file and brings it up to kSchemaVersion. Where the file is missing, the error
// says which command writes it.
Json ReadArtifact(const std::filesystem::path& path, Artifact artifact);

// Throws Error naming the first number that is not finite. JSON has no spelling for such a number,
// so it would silently be written as null. `where` names the document in the message.
void RequireFinite(const Json& json, const std::string& where);

// Writes the formats of a pair by their names: {"key": "int8", "value": "int4"}.
Json PairFormatsToJson(PrecisionPair pair);
PrecisionPair PairFormatsFromJson(JsonFields fields);

// Adds two fields: "pairs" holds the labels, "pair_formats" the formats that the labels stand for.
// Both are needed, because a label means something only together with its target ("KV4" is int4
// under one target and kivi_int4 under another). Throws Error when two pairs have the same label.
void WritePairs(Json& object, std::span<const PrecisionPair> pairs);
std::vector<PrecisionPair> ReadPairs(JsonFields& fields);

// Returns the labels of `pairs` as an array of strings.
Json PairLabelsToJson(std::span<const PrecisionPair> pairs);
// Reads the array of labels under `key`; each label must belong to one of `pairs`. Throws Error
// when a label is unknown or is given twice, or when the array is empty.
std::vector<PrecisionPair> ReadPairLabels(JsonFields& fields, std::string_view key,
                                          std::span<const PrecisionPair> pairs);

// Returns each pair once, sorted by nominal bits with the most bits first; among pairs of equal
// bits, the one with more key bits comes first.
std::vector<PrecisionPair> DistinctPairs(std::vector<PrecisionPair> pairs);

// Reads a count or an index, which must not be negative.
size_t ReadCount(JsonFields& fields, std::string_view key);

}  // namespace kvtune
