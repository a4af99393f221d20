// A model that is opened, and then loaded and ready to score, with everything that its results
// depend on.
#pragma once

#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <string>

#include "lib/core/measured_model.h"
#include "lib/core/model_options.h"
#include "lib/core/pareto_front.h"
#include "lib/core/provenance.h"
#include "lib/io/checkpoint.h"
#include "lib/run/run_options.h"
#include "lib/run/run_prompts.h"
#include "lib/targets/target.h"

namespace kvtune {

// Loads a checkpoint's weights. The program's own one constructs the model runner; tests give a
// fake. Throws Error. REQUIRES: the checkpoint outlives the model.
using ModelLoader =
    std::function<std::unique_ptr<MeasuredModel>(const Checkpoint&, const ModelOptions&)>;

// A checkpoint whose configuration is read at once and whose weights are read when they are first
// needed.
class OpenedModel {
 public:
  // Throws Error.
  OpenedModel(const std::filesystem::path& directory, ModelOptions options, ModelLoader loader);

  const ModelConfig& config() const { return checkpoint_.config(); }
  // Of the content of configuration and weights; computed once.
  const std::string& hash();
  // Loads the weights the first time.
  MeasuredModel& model();

  // What results of these inputs on these prompts depend on. Loads the weights.
  Provenance ProvenanceOf(const RunInputs& inputs, const PromptSet& prompts);
  // Makes calibrated scales from the prompts where formats of the target need them.
  void LearnScales(const Target& target, const PromptSet& prompts);
  // Nats per token that rounding alone makes of a score; measured once for a prompt set.
  // Throws Error also when it is not a finite number.
  double NoiseFloor(const PromptSet& prompts);

 private:
  ModelOptions options_;
  ModelLoader loader_;
  Checkpoint checkpoint_;
  std::string hash_;
  std::unique_ptr<MeasuredModel> model_;
  std::map<std::string, double> noise_floors_;  // by prompts' hash
};

// CostOf at this context, with what page padding adds.
CostFunction CostFor(const Target& target, const ModelConfig& config, int64_t context);

class ModelSession {
 public:
  // Reads, checks and loads in the order of cost, so that a wrong argument is found at once.
  // `held_out` as in LoadRunPrompts. Throws Error.
  ModelSession(const RunInputs& inputs, const std::string& held_out, const ModelLoader& loader);

  // With the pairs that the engine can store of this model.
  const Target& target() const { return target_; }
  const ModelConfig& config() const { return opened_.config(); }
  const RunPrompts& prompts() const { return prompts_; }
  MeasuredModel& model() { return opened_.model(); }
  const Provenance& run() const { return run_; }
  size_t layer_count() const { return config().layers.size(); }
  // Measures what rounding alone makes of a score on the calibration prompts, and says it. It takes
  // one pass of the exact model.
  double MeasureNoiseFloor();
  // At the context of the run.
  CostFunction cost() const { return CostFor(target_, config(), run_.context); }

 private:
  OpenedModel opened_;
  Target target_;
  RunPrompts prompts_;
  Provenance run_;
};

}  // namespace kvtune
