// The provenance of a result: everything that has to be equal for two results to be comparable.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "lib/base/json_fields.h"
#include "lib/core/cache_maxima.h"
#include "lib/core/layer_shape.h"

namespace kvtune {

// Which pairs a search tries: those that the target's default builds have fused kernels for, or all
// that it can express.
enum class KernelChoice { kDefault, kAll };

// Written into every artifact as "run". It holds no time, host or output path, so that the same
// inputs give the same bytes. run.json adds the command line.
struct Provenance {
  std::string version;               // version of kvtune
  std::string model;                 // the directory, as the user gave it
  std::string model_hash;            // hash of the content of configuration and weights
  std::vector<std::string> prompts;  // files as the user gave them, or "bundled"
  std::string prompt_template;       // PromptOptions::prompt_template; may be empty
  std::string prompts_hash;          // hash of the token ids that were used
  int64_t prompt_count = 0;
  int64_t token_count = 0;
  std::string target;
  std::string device;   // "cpu", "cuda:0"
  std::string dtype;    // "float32", ...
  std::string prefill;  // "quantized", "exact"
  uint64_t seed = 0;
  int64_t context = 0;  // the number of tokens at which bytes are counted
  CacheScales scales = CacheScales::kCalibrated;
  KernelChoice kernels = KernelChoice::kAll;  // kAll too where default builds have all kernels
  // How the checkpoint's names of the decoder's tensors begin: "model.", or
  // "language_model.model." in a model that also reads images.
  std::string module_prefix = "model.";
  // The nats per token that rounding alone adds to a score (MeasuredModel::NoiseFloor): plans whose
  // losses are closer than this are ties. It is set by the stages that score plans.
  std::optional<double> noise_floor = std::nullopt;
  // The shape of every layer of the model. Runs of earlier versions kept only the heads of the
  // first layer; such a run is read as a model whose layers all have these heads and full
  // attention.
  std::vector<LayerShape> layers;

  int64_t layer_count() const { return static_cast<int64_t>(layers.size()); }
};

Json ToJson(const Provenance& provenance);
Provenance ProvenanceFromJson(JsonFields fields);

// Returns one sentence for each difference that makes scores of the same plans incomparable: the
// content of model and prompts, the target, or the arithmetic.
std::vector<std::string> ScoreDifferences(const Provenance& stored, const Provenance& wanted);

// Returns one sentence for each difference that makes results incomparable ("--seed: found 1 there,
// expected 0"); empty when there is none. The path of the model may differ as long as its hash is
// the same.
std::vector<std::string> Differences(const Provenance& stored, const Provenance& wanted);

}  // namespace kvtune
