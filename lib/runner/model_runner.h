// The model runner: a decoder on a device, with a KV cache whose values are fake-quantized, or
// whose codes are packed where CUDA generates.
//
// All scoring is teacher-forced and parallel over positions, yet it equals token-by-token decoding
// with the quantized cache (docs/algorithm.md, "What a decode step sees"). Outside of lib/runner
// only the place that constructs a runner includes this header; all other code uses MeasuredModel.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "lib/core/measured_model.h"
#include "lib/core/model_options.h"
#include "lib/io/checkpoint.h"

namespace kvtune {

struct RunnerState;

class ModelRunner : public MeasuredModel {
 public:
  // Loads the weights to the device. Throws Error for an unknown or absent device, for a missing or
  // misshapen tensor and for weights that are NaN or infinite. Streamed layers are checked in the
  // first pass instead. REQUIRES: checkpoint outlives the runner.
  ModelRunner(const Checkpoint& checkpoint, const ModelOptions& options);
  ~ModelRunner() override;
  ModelRunner(const ModelRunner&) = delete;
  ModelRunner& operator=(const ModelRunner&) = delete;

  const ModelConfig& config() const override;
  std::string device_name() const override;
  int64_t peak_device_bytes() const override;
  std::string data_type_name() const override;
  bool streams_weights() const override;

  std::vector<LayerObservation> ObserveAttention(std::span<const TokenIds> prompts,
                                                 std::span<const PrecisionPair> pairs,
                                                 const OnProgress& progress) override;
  void SetCacheMaxima(std::vector<LayerMaxima> maxima) override;
  std::vector<std::vector<PromptScore>> ScorePlans(std::span<const PrecisionPlan> plans,
                                                   std::span<const TokenIds> prompts,
                                                   const OnProgress& progress) override;
  double NoiseFloor(std::span<const TokenIds> prompts) override;
  std::vector<ExactPass> ExactPasses(std::span<const TokenIds> prompts) override;
  void RestoreExactPasses(std::span<const TokenIds> prompts,
                          std::span<const ExactPass> passes) override;
  void Generate(const GenerationRequest& request, const OnGeneratedRow& finished) override;

 protected:
  explicit ModelRunner(std::unique_ptr<RunnerState> state);
  RunnerState& state() { return *state_; }

 private:
  // ScorePlans for plans that there is room for.
  std::vector<std::vector<PromptScore>> ScoreTogether(std::span<const PrecisionPlan> plans,
                                                      std::span<const TokenIds> prompts,
                                                      const OnProgress& progress);

  std::unique_ptr<RunnerState> state_;
};

}  // namespace kvtune
