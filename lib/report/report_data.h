// The data of the HTML report: all that its views show, as one JSON document.
//
// The page draws nothing that is not in the document, and the document is the same for the same
// files of a run. lib/report/page/ holds the scripts that read it.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "lib/base/json_fields.h"
#include "lib/core/candidates.h"
#include "lib/core/diagnosis.h"
#include "lib/core/layer_groups.h"
#include "lib/core/pareto_front.h"
#include "lib/core/provenance.h"
#include "lib/core/sensitivity.h"

namespace kvtune {

// One stage of the run, as run.json keeps it.
struct StageRecord {
  std::string name;
  bool finished = false;
  double seconds = 0;   // 0 until it is finished
  std::string started;  // UTC
  std::string command;  // as a shell reads it
  std::string options;  // "--epsilon 0, --min-pairs 1"
};

// A part that the run does not have, and the command that makes it.
struct MissingPart {
  std::string what;     // a sentence
  std::string command;  // empty when no command makes it
};

// How one plan is written for a serving engine.
struct PlanExport {
  std::string format;       // a format of `kvtune pareto export`
  std::string description;  // "arguments of vllm serve"
  std::string command;      // the command that writes it
  std::string content;      // what it writes; empty where that is too long to show
  std::string why_not;      // why the format cannot express the plan; empty when it can
  std::string nearest;      // then: the nearest plan that it can express
};

// What was read of a run. Only the provenance is always there.
struct RunReport {
  std::string title;  // the model's name
  std::string path;   // the run directory, as the user gave it
  Provenance run;
  std::optional<uint64_t> weight_bytes;  // of the model's files, where they are there
  std::vector<StageRecord> stages;
  std::vector<MissingPart> missing;
  std::optional<SensitivityTable> sensitivity;
  std::optional<Diagnosis> diagnosis;
  std::optional<CandidateSet> candidates;
  std::optional<LayerGroups> groups;
  std::optional<ParetoFront> front;
  int64_t scored_plans = 0;        // in evaluations.jsonl
  std::vector<ScoredPlan> others;  // those of them that are on no list of the front
  // The bytes of a plan's cache at a number of tokens. Asked for plans of `front` only.
  std::function<double(const PrecisionPlan&, int64_t tokens)> cache_bytes;
  // All formats of the run's target. Asked for plans of `front` only.
  std::function<std::vector<PlanExport>(const ScoredPlan&)> exports;
};

// The plans that the page shows first, by name: the largest uniform plan, the knee of the front and
// the uniform plan whose size is nearest to the knee's. Each is there once.
std::vector<std::string> FirstPlans(const ParetoFront& front);

// Numbers have six significant digits. Control characters in names are shown as escapes.
Json ReportData(const RunReport& report);

}  // namespace kvtune
