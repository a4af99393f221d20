// What the file of one serving engine hands to the registry: its target, and how plans are written
// down for it.
//
// To add an engine: one file that defines a function like those at the end of this header, one line
// in the registry of targets.cc, and a reader there when the engine has a file format of its own.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "lib/core/kv_format.h"
#include "lib/targets/target.h"

namespace kvtune {

// One format of `pareto export`.
struct ExportFormat {
  std::string_view name;
  // Throws Error when the format cannot express the plan.
  std::string (*write)(const ScoredPlan& plan, const Target& target);
};

struct Engine {
  Target target;
  std::vector<ExportFormat> exports;
};

// Every (key, value) combination of `formats`, the first format's keys first.
std::vector<PrecisionPair> AllPairs(std::span<const KvFormatId> formats);

// The formats that the target's pairs use for one side, each once, in order.
std::vector<KvFormatId> FormatsOf(const Target& target, KvSide side);

// Throws Error when a layer uses a format that is neither exact nor the target's. Exact layers can
// be scored under every target; whether they can be exported is up to the export format.
// `source` names the plan in the message.
void RequireFormatsOf(const Target& target, const PrecisionPlan& plan, const std::string& source);

Engine KvtunerEngine();
Engine KvtunerKiviEngine();

}  // namespace kvtune
