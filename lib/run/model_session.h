// A model that a command works with: first opened, then loaded and ready to score, with everything
// that its results depend on.
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

// Loads a checkpoint's weights. The program passes a loader that constructs the model runner; tests
// pass one that returns a fake model. Throws Error. REQUIRES: the checkpoint outlives the model.
using ModelLoader =
    std::function<std::unique_ptr<MeasuredModel>(const Checkpoint&, const ModelOptions&)>;

// A checkpoint whose configuration is read at once. Its weights are read when they are first
// needed, so that a command which does not run the model does not wait for them.
class OpenedModel {
 public:
  // Opens the checkpoint in `directory` and reads its configuration. Throws Error.
  OpenedModel(const std::filesystem::path& directory, ModelOptions options, ModelLoader loader);

  const ModelConfig& config() const { return checkpoint_.config(); }
  // The hash of the content of configuration and weights; computed once.
  const std::string& hash();
  // The loaded model. The first call loads the weights.
  MeasuredModel& model();
  // Throws Error when weights that are read in every pass are no longer those of hash(). It reads
  // them once more; weights that stay in memory cannot change. To be called before results are
  // written.
  void RequireUnchanged();

  // Everything that results of these inputs on these prompts depend on. Loads the weights.
  Provenance ProvenanceOf(const RunInputs& inputs, const PromptSet& prompts);
  // Computes calibrated scales from the prompts, or reads those of the checkpoint where the target
  // says so, if formats of the target need them.
  void LearnScales(const Target& target, const PromptSet& prompts);
  // The score, in nats per token, that rounding alone produces; measured once for each prompt set.
  // Throws Error also when it is not a finite number.
  double NoiseFloor(const PromptSet& prompts);

 private:
  ModelOptions options_;
  ModelLoader loader_;
  Checkpoint checkpoint_;
  std::string hash_;
  std::unique_ptr<MeasuredModel> model_;
  std::map<std::string, double> noise_floors_;  // by the hash of the prompts
};

// The target of the inputs, fitted to the model and to the scales that are asked for. Throws Error.
Target TargetOf(const RunInputs& inputs, const ModelConfig& config);

// The costs of plans at this context: CostOf, with what page padding adds to it.
CostFunction CostFor(const Target& target, const ModelConfig& config, int64_t context);

class ModelSession {
 public:
  // Does the cheap steps of reading, checking and loading first, so that a wrong argument is found
  // at once. `held_out` has the meaning that it has in LoadRunPrompts. Throws Error.
  ModelSession(const RunInputs& inputs, const std::string& held_out, const ModelLoader& loader);

  // The target with only those pairs that the engine can store in this model.
  const Target& target() const { return target_; }
  const ModelConfig& config() const { return opened_.config(); }
  const RunPrompts& prompts() const { return prompts_; }
  MeasuredModel& model() { return opened_.model(); }
  const Provenance& run() const { return run_; }
  size_t layer_count() const { return config().layers.size(); }
  void RequireUnchanged() { opened_.RequireUnchanged(); }
  // Measures the score that rounding alone produces on the calibration prompts, in nats per token,
  // and tells the user. It takes two passes of the exact model, or one where its pass is known.
  double MeasureNoiseFloor();
  // The costs of plans at the context of the run.
  CostFunction cost() const { return CostFor(target_, config(), run_.context); }

 private:
  OpenedModel opened_;
  Target target_;
  RunPrompts prompts_;
  Provenance run_;
};

}  // namespace kvtune
