// Where a result came from: everything that has to be equal for two results to be comparable.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "lib/base/json_fields.h"
#include "lib/core/layer_shape.h"

namespace kvtune {

// Written into every artifact as "run". It holds no time, host or output path, so that the same
// inputs give the same bytes; run.json adds the command line.
struct Provenance {
  std::string version;               // of kvtune
  std::string model;                 // directory as given
  std::string model_hash;            // content of configuration and weights
  std::vector<std::string> prompts;  // files as given, or "bundled"
  std::string prompts_hash;          // of the token ids that were used
  int64_t prompt_count = 0;
  int64_t token_count = 0;
  std::string target;
  std::string device;   // "cpu", "cuda:0"
  std::string dtype;    // "float32", ...
  std::string prefill;  // "quantized", "exact"
  uint64_t seed = 0;
  int64_t context = 0;  // tokens at which bytes are counted
  // Nats per token that rounding alone makes of a score (MeasuredModel::NoiseFloor): plans whose
  // losses are closer than this are ties. Measured where plans are scored.
  std::optional<double> noise_floor = std::nullopt;
  // Of every layer of the model. Runs of earlier versions kept the first layer's heads alone; they
  // are read as a model of such layers with full attention.
  std::vector<LayerShape> layers;

  int64_t layer_count() const { return static_cast<int64_t>(layers.size()); }
};

Json ToJson(const Provenance& provenance);
Provenance ProvenanceFromJson(JsonFields fields);

// One sentence per difference that makes scores of the same plans incomparable: content of model
// and prompts, target, arithmetic.
std::vector<std::string> ScoreDifferences(const Provenance& stored, const Provenance& wanted);

// One sentence per difference that makes results incomparable ("--seed: found 1 there, expected
// 0"), empty when there is none. The model's path may differ when its hash does not.
std::vector<std::string> Differences(const Provenance& stored, const Provenance& wanted);

}  // namespace kvtune
