// What the file of one serving engine hands to the registry: its target, and how plans are written
// down for it.
//
// To add an engine: one file that defines a function like those at the end of this header, and one
// line in the registry of targets.cc. docs/targets.md says what belongs in it.
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
  // The words by which a text is recognized, for people: "--kv-cache-dtype, kv_cache_dtype".
  std::string_view words;
  // REQUIRES: `shape`, or else the target's, allows the plan.
  std::string (*write)(const ScoredPlan& plan, const Provenance& run,
                       const Target& target) = nullptr;
  // Whether `content` is of this format, going by what only this format has: a word about the cache
  // that is no comment.
  bool (*recognizes)(std::string_view content) = nullptr;
  // Throws Error naming the place in `source`.
  PrecisionPlan (*read)(std::string_view content, const std::string& source, size_t layer_count,
                        const Target& target) = nullptr;
  // Of what the format can express, where that is not what is searched.
  std::optional<PlanShape> shape = std::nullopt;
};

// Why heads of this size cannot be cut into the blocks of so many channels in which an engine
// stores the format; nullopt where they can.
std::optional<std::string> WhyNotInBlocks(KvFormatId format, int64_t block, int64_t head_dim);

// The same for both sides of a layer, in the blocks that share a scale: what most engines ask.
std::optional<std::string> WhyNotInGroups(PrecisionPair pair, const LayerShape& layer);

struct Engine {
  Target target;
  std::vector<ExportFormat> exports;
  // Why the engine cannot store the pair in such a layer; nullopt where it can. nullptr: any pair
  // of the target in any layer.
  std::optional<std::string> (*why_not_stored)(PrecisionPair pair,
                                               const LayerShape& layer) = WhyNotInGroups;
};

// The engine whose target this is, with all pairs or those that fit a model. Throws Error (kUsage)
// naming the targets that exist.
const Engine& FindEngine(std::string_view name);

// Every (key, value) combination of `formats`, the first format's keys first.
std::vector<PrecisionPair> AllPairs(std::span<const KvFormatId> formats);

// The same format for keys and values.
std::vector<PrecisionPair> TiedPairs(std::span<const KvFormatId> formats);

// `pairs` behind the exact pair.
std::vector<PrecisionPair> AndExact(std::vector<PrecisionPair> pairs);

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
