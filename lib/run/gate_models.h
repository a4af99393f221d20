// The models of the gate's configs. Each model is opened, hashed and loaded once for all configs of
// a call.
#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "lib/core/model_options.h"
#include "lib/gate/gate.h"
#include "lib/run/model_session.h"
#include "lib/run/prepared_task.h"

namespace kvtune {

class OpenedGateModels : public GateModels {
 public:
  // `where` gives device, data type and threads; the prefill mode comes from each config. The
  // folder `cache` keeps the exact model's pass over a config's prompts; when it is empty, that
  // pass is run anew every time.
  OpenedGateModels(ModelOptions where, std::filesystem::path cache, ModelLoader loader);

  PrecisionPlan PlanOf(const GateConfig& config) override;
  std::string HashOf(const GateConfig& config) override;
  // Throws Error also when the prompts are not those whose hash the config has, or are too few for
  // an interval.
  PromptSet PromptsOf(const GateConfig& config) override;
  Provenance RunOf(const GateConfig& config, const PromptSet& prompts) override;
  MeasuredModel& ModelOf(const GateConfig& config, const PromptSet& prompts) override;
  TaskItems TaskOf(const GateConfig& config, const PromptSet& prompts) override;
  std::vector<std::vector<char>> AnswersOf(const GateConfig& config,
                                           std::span<const PrecisionPlan> plans) override;
  double NoiseFloorOf(const GateConfig& config, const PromptSet& prompts) override;
  void RequireUnchanged(const GateConfig& config) override;
  CostFunction CostFor(const GateConfig& config) override;

 private:
  OpenedModel& Open(const GateConfig& config);
  Target TargetOf(const GateConfig& config);

  ModelOptions where_;
  std::filesystem::path cache_;
  ModelLoader loader_;
  // The models by directory, prefill mode and scales: configs may differ in these.
  std::map<std::string, std::unique_ptr<OpenedModel>> models_;
  std::map<std::filesystem::path, std::unique_ptr<PreparedTask>> tasks_;  // by the config's file
};

}  // namespace kvtune
