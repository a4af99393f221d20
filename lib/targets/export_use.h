// How an exported plan is used: the whole command line with the model's name, the release of the
// engine from which it works, and where calibrated scales go.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "lib/core/pareto_front.h"
#include "lib/core/provenance.h"

namespace kvtune {

// A release or a change of an engine that a plan needs, and where that can be looked up.
struct EngineNeed {
  std::string text;    // "turboquant_*: vLLM 0.20.0 or later"
  std::string source;  // the page that says so
};

struct ExportUse {
  // What to run, one line a step. Words in capitals are left to the user.
  std::vector<std::string> commands;
  std::vector<EngineNeed> needs;
  std::string scales;  // where the file of scales goes; empty where the plan needs none
};

// What was written where, by `pareto export`.
struct ExportedFiles {
  std::string content;      // of the plan
  std::string plan_file;    // empty: it went to stdout
  std::string scales_file;  // empty: none was written
};

// REQUIRES: `format` is one of the export formats of the run's target.
ExportUse UseOf(const ScoredPlan& plan, const Provenance& run, std::string_view format,
                const ExportedFiles& files);

}  // namespace kvtune
