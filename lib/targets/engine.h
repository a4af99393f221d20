// What the file of one serving engine hands to the registry: its target, and how plans are written
// down for it.
//
// To add an engine: one file that defines a function like those at the end of this header, and one
// line in the registry of targets.cc.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "lib/core/kv_format.h"
#include "lib/core/provenance.h"
#include "lib/targets/target.h"

namespace kvtune {

// One format of `pareto export`.
struct ExportFormat {
  ExportSummary summary;
  // REQUIRES: `shape`, or else the target's, allows the plan.
  std::string (*write)(const ScoredPlan& plan, const Provenance& run,
                       const Target& target) = nullptr;
  // Whether `content` is of this format, going by what only this format has.
  bool (*recognizes)(std::string_view content) = nullptr;
  // Throws Error naming the place in `source`.
  PrecisionPlan (*read)(std::string_view content, const std::string& source, size_t layer_count,
                        const Target& target) = nullptr;
  // Of what the format can express, where that is not what is searched.
  std::optional<PlanShape> shape = std::nullopt;
};

struct Engine {
  Target target;
  std::vector<ExportFormat> exports;
};

// Every (key, value) combination of `formats`, the first format's keys first.
std::vector<PrecisionPair> AllPairs(std::span<const KvFormatId> formats);

// The same format for keys and values.
std::vector<PrecisionPair> TiedPairs(std::span<const KvFormatId> formats);

// `pairs` behind the exact pair.
std::vector<PrecisionPair> AndExact(std::vector<PrecisionPair> pairs);

// The formats that the pairs of the target's shape use for one side, each once, in order.
std::vector<KvFormatId> FormatsOf(const Target& target, KvSide side);

// Throws Error when a layer uses a format that is neither exact nor the target's. Other plans than
// the target can run may be scored; whether they can be exported is up to the export format.
// `source` names the plan in the message.
void RequireFormatsOf(const Target& target, const PrecisionPlan& plan, const std::string& source);

// kvtune's own plan file, which every engine has.
ExportFormat PlanJsonFormat();

Engine KvtunerEngine();
Engine KvtunerKiviEngine();
Engine VllmEngine();
Engine ModeloptEngine();
Engine TensorrtLlmEngine();
Engine SglangEngine();
Engine SglangPerLayerEngine();
Engine LmdeployEngine();
Engine LlamaCppEngine();
Engine IkLlamaCppEngine();
Engine MlxOptiqEngine();
Engine HfEngine();
Engine HfQuantoEngine();
Engine Exllamav3Engine();

}  // namespace kvtune
