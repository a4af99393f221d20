// What the file of one serving engine hands to the registry: its target, and how plans are written
// down for it.
//
// To add an engine, write one file that defines a function like those at the end of this header,
// and add one line to the registry in targets.cc. docs/targets.md says what belongs in the file.
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
  // The words by which a text of this format is recognized, as messages name them:
  // "--kv-cache-dtype, kv_cache_dtype".
  std::string_view words;
  // Writes the plan in this format. REQUIRES: the plan is allowed by `shape`, or by the target's
  // shape where `shape` is nullopt.
  std::string (*write)(const ScoredPlan& plan, const Provenance& run,
                       const Target& target) = nullptr;
  // Whether `content` is of this format. What decides is something that only this format has: a
  // word about the cache outside of comments.
  bool (*recognizes)(std::string_view content) = nullptr;
  // Reads a plan from a text of this format. Throws Error naming the place in `source`.
  PrecisionPlan (*read)(std::string_view content, const std::string& source, size_t layer_count,
                        const Target& target) = nullptr;
  // The plan shapes that this format can express; nullopt when they are the target's own.
  std::optional<PlanShape> shape = std::nullopt;
};

// An engine stores `format` in blocks of `block` channels. Returns why heads of head_dim channels
// cannot be cut into such blocks; nullopt when they can.
std::optional<std::string> WhyNotInBlocks(KvFormatId format, int64_t block, int64_t head_dim);

// The same for both sides of a layer, where a block is the channels that share a scale. This is the
// only condition of most engines.
std::optional<std::string> WhyNotInGroups(PrecisionPair pair, const LayerShape& layer);

// Kernels of `format` run on NVIDIA GPUs from a compute capability (times ten) on.
struct GpuNeed {
  KvFormatId format;
  int compute_capability;
  std::string_view reason;  // with its source
};

struct Engine {
  Target target;
  std::vector<ExportFormat> exports;
  // Returns why the engine cannot store the pair in such a layer; nullopt when it can. The function
  // is nullptr where the engine stores any pair of the target in any layer.
  std::optional<std::string> (*why_not_stored)(PrecisionPair pair,
                                               const LayerShape& layer) = WhyNotInGroups;
  std::vector<GpuNeed> gpu_needs = {};
  // Returns what default builds of the engine lack for a pair that is not exact, and what that
  // costs; nullopt where they have a fused kernel. The function is nullptr where default builds
  // have all kernels.
  std::optional<std::string> (*why_no_default_kernel)(PrecisionPair pair) = nullptr;
};

// The engine whose target has this name. A target that was fitted to a model (TargetFor) keeps its
// name and so leads to the same engine. Throws Error (kUsage) naming the targets that exist.
const Engine& FindEngine(std::string_view name);

// All pairs of a key format and a value format out of `formats`, those with keys of the first
// format first.
std::vector<PrecisionPair> AllPairs(std::span<const KvFormatId> formats);

// The pairs with the same format for keys and values, in the order of `formats`.
std::vector<PrecisionPair> TiedPairs(std::span<const KvFormatId> formats);

// `pairs` with the exact pair in front of them.
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
