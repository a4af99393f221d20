// A model while its gates are judged: opened, hashed and loaded once for all of them.
#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "apps/kvtune/options.h"
#include "lib/calib/prompt_set.h"
#include "lib/core/provenance.h"
#include "lib/gate/gate_config.h"
#include "lib/gate/measurement.h"
#include "lib/io/checkpoint.h"
#include "lib/runner/model_runner.h"
#include "lib/targets/target.h"

namespace kvtune {

class GateModel {
 public:
  // Opens the checkpoint; weights are read when they are needed. Throws Error.
  // `where` gives device, data type, threads; `model` and `prefill` are a config's.
  GateModel(const std::filesystem::path& model, const std::string& prefill, ModelArguments where);

  const ModelConfig& config() const { return checkpoint_.config(); }
  // Content hash, read once.
  const std::string& hash();

  // The config's prompts. Throws Error, also when they are others than the config says.
  PromptSet Prompts(const GateConfig& config) const;
  // Loads the weights where that was not done yet.
  Provenance RunOf(const GateConfig& config, const PromptSet& prompts);
  // Calibrated scales, where formats of the target need them: from the prompts, as a search takes
  // them.
  void LearnScales(const Target& target, const PromptSet& prompts);
  // Takes the exact pass over the prompts from the folder, or puts it there.
  void UseCache(const std::filesystem::path& folder, const Provenance& run,
                const PromptSet& prompts);
  // Nats per token that rounding alone makes; measured once for a prompt set.
  double NoiseFloor(const PromptSet& prompts);
  // One measurement a plan; bytes by the config's target and context.
  std::vector<Measurement> Measure(std::span<const PrecisionPlan> plans, const PromptSet& prompts,
                                   const GateConfig& gate);

 private:
  ModelRunner& runner();
  ModelArguments ArgumentsOf(const GateConfig& config) const;

  ModelArguments arguments_;
  Checkpoint checkpoint_;
  std::string hash_;
  std::unique_ptr<ModelRunner> runner_;
  std::map<std::string, double> noise_floors_;  // by prompts' hash
};

}  // namespace kvtune
