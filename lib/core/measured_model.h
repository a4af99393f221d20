// The one port to a model: what calibration, scoring, search and gate may ask of it, without a
// tensor in sight. lib/runner implements it on a device; tests have a fake of it.
//
// Everything is teacher-forced: a prompt is scored with its own tokens, as decoding over the
// quantized cache would see them (docs/algorithm.md, "What a decode step sees").
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "lib/core/cache_maxima.h"
#include "lib/core/layer_observation.h"
#include "lib/core/model_config.h"
#include "lib/core/plan_score.h"
#include "lib/core/precision_plan.h"

namespace kvtune {

using TokenIds = std::vector<int32_t>;

// What the exact model's pass over one prompt leaves: all that scoring plans needs of it.
struct ExactPass {
  std::vector<std::byte> hidden;  // [tokens, hidden_size] after the final norm, in the model's type
  int64_t scored = 0;             // positions
  double nll_sum = 0;             // nats
  int64_t top1_matches = 0;

  friend bool operator==(const ExactPass&, const ExactPass&) = default;
};

class MeasuredModel {
 public:
  // Called with the number of prompts finished since the last call, one call at a time. May be
  // empty.
  using OnProgress = std::function<void(int64_t prompts)>;

  virtual ~MeasuredModel() = default;

  virtual const ModelConfig& config() const = 0;
  virtual std::string device_name() const = 0;     // "cpu", "cuda:0"
  virtual std::string data_type_name() const = 0;  // "float32", ...
  // Whether every pass reads the layers' weights again because they do not fit into memory.
  virtual bool streams_weights() const = 0;

  // One exact pass over the prompts, in which every layer's attention is repeated with each pair.
  // Returns one observation a layer. REQUIRES: no empty prompt. Throws Error.
  virtual std::vector<LayerObservation> ObserveAttention(std::span<const TokenIds> prompts,
                                                         std::span<const PrecisionPair> pairs,
                                                         const OnProgress& progress) = 0;

  // What formats with calibrated scales need: one entry a layer, from ObserveAttention with any
  // pairs or none. To score or observe such a format before is an Error.
  virtual void SetCacheMaxima(std::vector<LayerMaxima> maxima) = 0;

  // Scores every plan on every prompt against the exact model: [plan][prompt], with token_kl. The
  // exact plan is compared with itself and loses exactly 0. What a plan scores does not depend on
  // the others it came with, up to floating-point rounding.
  // REQUIRES: no prompt under two tokens; plans of as many layers as the model. Throws Error.
  virtual std::vector<std::vector<PromptScore>> ScorePlans(std::span<const PrecisionPlan> plans,
                                                           std::span<const TokenIds> prompts,
                                                           const OnProgress& progress) = 0;

  // Mean KL, in nats per token, of the exact model against itself with every layer's attention
  // output off by one rounding step: what rounding alone does to a score in this data type. Scores
  // that are closer than this are ties. Throws Error.
  virtual double NoiseFloor(std::span<const TokenIds> prompts) = 0;

  // The exact passes over these prompts; those that were not run yet are run now. Throws Error.
  virtual std::vector<ExactPass> ExactPasses(std::span<const TokenIds> prompts) = 0;
  // Loads them into another instance of the same model, device and data type, so that it can skip
  // the pass. Throws Error when a pass does not have the prompt's size.
  // REQUIRES: as many passes as prompts.
  virtual void RestoreExactPasses(std::span<const TokenIds> prompts,
                                  std::span<const ExactPass> passes) = 0;

  size_t layer_count() const { return config().layers.size(); }
};

}  // namespace kvtune
