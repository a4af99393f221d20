// The gate: judges served plans against their baselines, config by config.
#pragma once

#include <chrono>
#include <filesystem>
#include <functional>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "lib/calib/prompt_set.h"
#include "lib/core/measured_model.h"
#include "lib/core/pareto_front.h"
#include "lib/core/provenance.h"
#include "lib/gate/baseline.h"
#include "lib/gate/gate_config.h"
#include "lib/gate/gate_result.h"

namespace kvtune {

// The items of a config's task, as the gate tells them apart.
struct TaskItems {
  std::string hash;  // of all that the verdicts on them depend on beside model and plan
  size_t count = 0;
};

// What the gate needs of a config's model, prompts and target. lib/run/gate_models.h opens real
// ones, and tests give fakes. Every function may throw Error.
class GateModels {
 public:
  virtual ~GateModels() = default;

  // The plan that is served.
  virtual PrecisionPlan PlanOf(const GateConfig& config) = 0;
  // The hash of the model's content as it is now.
  virtual std::string HashOf(const GateConfig& config) = 0;
  virtual PromptSet PromptsOf(const GateConfig& config) = 0;
  // Everything that scores on these prompts depend on. Loads the weights.
  virtual Provenance RunOf(const GateConfig& config, const PromptSet& prompts) = 0;
  // The model, loaded and ready to score the config's plan on the prompts.
  virtual MeasuredModel& ModelOf(const GateConfig& config, const PromptSet& prompts) = 0;
  // The items of the config's task, found without weights. Throws Error also where one of them is
  // among the prompts. REQUIRES: the config names a task.
  virtual TaskItems TaskOf(const GateConfig& config, const PromptSet& prompts) = 0;
  // By plan and item: whether the answer is right. REQUIRES: TaskOf and ModelOf were called for the
  // config.
  virtual std::vector<std::vector<char>> AnswersOf(const GateConfig& config,
                                                   std::span<const PrecisionPlan> plans) = 0;
  // The score, in nats per token, that rounding alone produces.
  virtual double NoiseFloorOf(const GateConfig& config, const PromptSet& prompts) = 0;
  // Throws Error when the model changed while it was scored.
  virtual void RequireUnchanged(const GateConfig& config) = 0;
  // The costs of plans under the config's target, at its context.
  virtual CostFunction CostFor(const GateConfig& config) = 0;
};

enum class BaselineUse {
  kCompare,  // compare what is measured with the baseline on record
  kUpdate,   // write what is measured as the new baseline, and say what changed
};

struct GateOptions {
  std::filesystem::path baseline;  // empty: each config's own (DefaultBaselineFile)
  BaselineUse use = BaselineUse::kCompare;
  ModelChange model_change = ModelChange::kRefuse;
  uint64_t seed = 0;  // of the bootstrap that gives the intervals
};

// Judges the configs of one call. Two configs of one name are refused, because baselines and
// reports tell them apart by name.
class Gate {
 public:
  // REQUIRES: models outlives the gate.
  Gate(GateModels& models, GateOptions options) : models_(models), options_(std::move(options)) {}

  // Judges one config. Never throws Error, because a config that cannot be judged has a result too.
  GateResult Run(const std::filesystem::path& config_file);

 private:
  void JudgeConfig(const GateConfig& config, GateResult& result);
  void RequireModel(const GateConfig& config, const std::string& hash, GateResult& result) const;
  std::vector<char> AnswerTask(const GateConfig& config, Baseline& now);
  void Compare(const GateConfig& config, const Baseline& before, const Baseline& after,
               MeasuredModel& model, const PromptSet& prompts, GateResult& result);
  void BlameLayer(const GateConfig& config, const Baseline& before, const Baseline& after,
                  Metric metric, MeasuredModel& model, const PromptSet& prompts,
                  GateResult& result);

  GateModels& models_;
  GateOptions options_;
  std::map<std::string, std::filesystem::path> names_;  // the configs so far, each with its file
};

// Measures every plan on the prompts. Throws Error when a loss is not a finite number.
std::vector<Measurement> MeasurePlans(MeasuredModel& model, std::span<const PrecisionPlan> plans,
                                      const PromptSet& prompts, const CostFunction& cost);

}  // namespace kvtune
