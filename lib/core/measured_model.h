// The only interface to a model: what calibration, scoring, the search and the gate may ask of it,
// without any tensor types. lib/runner implements it on a device, lib/distributed over many
// processes, and tests use a fake of it.
//
// Scoring is teacher-forced: a prompt is scored on its own tokens, as decoding over the quantized
// cache would see them (docs/algorithm.md, "What a decode step sees"). Generation decodes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "lib/core/cache_maxima.h"
#include "lib/core/generation.h"
#include "lib/core/layer_observation.h"
#include "lib/core/model_config.h"
#include "lib/core/plan_score.h"
#include "lib/core/precision_plan.h"
#include "lib/core/token_ids.h"

namespace kvtune {

// What is kept of the exact model's pass over one prompt. Scoring plans on that prompt needs
// nothing else of the exact model.
struct ExactPass {
  // [tokens, hidden_size] after the final norm, in the model's data type.
  std::vector<std::byte> hidden;
  int64_t scored = 0;  // number of scored positions
  double nll_sum = 0;  // nats
  int64_t top1_matches = 0;

  friend bool operator==(const ExactPass&, const ExactPass&) = default;
};

class MeasuredModel {
 public:
  // Called with the number of prompts that were finished since the last call. Calls never overlap.
  // May be empty.
  using OnProgress = std::function<void(int64_t prompts)>;

  virtual ~MeasuredModel() = default;

  virtual const ModelConfig& config() const = 0;
  virtual std::string device_name() const = 0;     // "cpu", "cuda:0"
  virtual std::string data_type_name() const = 0;  // "float32", ...
  // Whether every pass reads the layers' weights from the checkpoint again, because they do not fit
  // into memory.
  virtual bool streams_weights() const = 0;
  // The most bytes that the model and its work have taken of a GPU's memory so far; 0 where that is
  // not known, as on a CPU.
  virtual int64_t peak_device_bytes() const { return 0; }

  // Makes one exact pass over the prompts, in which every layer's attention is repeated with each
  // pair. Returns one observation for each layer. REQUIRES: no prompt is empty. Throws Error.
  virtual std::vector<LayerObservation> ObserveAttention(std::span<const TokenIds> prompts,
                                                         std::span<const PrecisionPair> pairs,
                                                         const OnProgress& progress) = 0;

  // Sets the maxima that formats with calibrated scales need, one entry for each layer. They come
  // from ObserveAttention with any pairs or none. Scoring or observing such a format before this
  // call is an Error.
  virtual void SetCacheMaxima(std::vector<LayerMaxima> maxima) = 0;

  // Scores every plan on every prompt against the exact model: the result is [plan][prompt], with
  // token_kl. The exact plan is compared with itself and loses exactly 0. The score of a plan does
  // not depend on what else is scored with it, up to floating-point rounding. REQUIRES: every
  // prompt has at least two tokens, and every plan has as many layers as the model. Throws Error.
  virtual std::vector<std::vector<PromptScore>> ScorePlans(std::span<const PrecisionPlan> plans,
                                                           std::span<const TokenIds> prompts,
                                                           const OnProgress& progress) = 0;

  // Returns the mean KL, in nats per token, of the exact model against itself when every layer's
  // attention output is off by one rounding step. This is what rounding alone does to a score in
  // this data type, so scores that are closer than this are ties. Throws Error.
  virtual double NoiseFloor(std::span<const TokenIds> prompts) = 0;

  // Returns the exact passes over these prompts, and runs those that were not run yet. Throws
  // Error.
  virtual std::vector<ExactPass> ExactPasses(std::span<const TokenIds> prompts) = 0;
  // Loads the results of ExactPasses into another instance of the same model, device and data type,
  // so that it can skip the passes. Throws Error when a pass does not have the size of its prompt.
  // REQUIRES: as many passes as prompts.
  virtual void RestoreExactPasses(std::span<const TokenIds> prompts,
                                  std::span<const ExactPass> passes) = 0;

  // Continues the prompt of every row with the most likely tokens, decoded over the row's cache as
  // the engine would keep it. What a row gets does not depend on the other rows of the request, up
  // to floating-point rounding. REQUIRES: no prompt is empty, each leaves room for max_new_tokens
  // in the model's context, and every plan has as many layers as the model. Throws Error.
  virtual void Generate(const GenerationRequest& request, const OnGeneratedRow& finished) = 0;

  size_t layer_count() const { return config().layers.size(); }
};

}  // namespace kvtune
