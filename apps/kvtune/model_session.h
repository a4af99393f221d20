// A model that is loaded and ready to score, with everything that its results depend on.
#pragma once

#include <string>

#include "apps/kvtune/options.h"
#include "apps/kvtune/run_prompts.h"
#include "lib/core/pareto_front.h"
#include "lib/core/provenance.h"
#include "lib/io/checkpoint.h"
#include "lib/runner/model_runner.h"
#include "lib/targets/target.h"

namespace kvtune {

RunnerOptions RunnerOptionsOf(const ModelArguments& arguments);

// What results of this model, these prompts and this runner depend on.
Provenance ProvenanceOf(const ModelArguments& arguments, std::string model_hash,
                        const PromptSet& prompts, const ModelRunner& runner);

class ModelSession {
 public:
  // Reads, checks and loads in the order of cost, so that a wrong argument is found at once.
  // `held_out` as in LoadRunPrompts. Throws Error.
  ModelSession(const ModelArguments& arguments, const std::string& held_out);

  // With the pairs that the engine can store of this model.
  const Target& target() const { return target_; }
  const ModelConfig& config() const { return checkpoint_.config(); }
  const RunPrompts& prompts() const { return prompts_; }
  ModelRunner& runner() { return runner_; }
  const Provenance& run() const { return run_; }
  size_t layer_count() const { return static_cast<size_t>(config().layer_count()); }
  // Measures what rounding alone makes of a score on the calibration prompts, and says
  // it. One pass of the exact model.
  double MeasureNoiseFloor();
  // CostOf at the context of the run.
  CostFunction cost() const;

 private:
  Checkpoint checkpoint_;
  Target target_;
  RunPrompts prompts_;
  ModelRunner runner_;
  Provenance run_;
};

}  // namespace kvtune
