#include "lib/run/gate_models.h"

#include <fmt/format.h>

#include <utility>

#include "lib/base/error.h"
#include "lib/calib/exact_cache.h"
#include "lib/gate/verdict.h"
#include "lib/run/plan_source.h"
#include "lib/run/run_prompts.h"
#include "lib/run/task_scorer.h"

namespace kvtune {
namespace {

namespace fs = std::filesystem;

// The config in the words of a run.
RunInputs InputsOf(const GateConfig& config, const ModelOptions& where) {
  RunInputs inputs{.model = config.model,
                   .target = config.target,
                   .prompts = config.prompts,
                   .seed = config.seed,
                   .context = config.context,
                   .scales = config.scales,
                   .running = where};
  inputs.running.prefill = config.prefill;
  return inputs;
}

// The gate compares answers that are right or wrong.
void RequireVerdicts(const GateConfig& config, const Task& task) {
  const bool has_shares =
      task.protocol == Protocol::kContains && task.reference_rule == ReferenceRule::kAll &&
      std::ranges::any_of(task.items,
                          [](const TaskItem& item) { return item.references.size() > 1; });
  if (!has_shares) return;
  throw Error(
      fmt::format("{}: \"task\": found items whose share of references is their score, "
                  "expected answers that are right or wrong (\"match\": \"any\" in the "
                  "task's file)",
                  config.file.string()));
}

}  // namespace

OpenedGateModels::OpenedGateModels(ModelOptions where, fs::path cache, ModelLoader loader)
    : where_(std::move(where)), cache_(std::move(cache)), loader_(std::move(loader)) {}

OpenedModel& OpenedGateModels::Open(const GateConfig& config) {
  std::error_code ignored;
  // Configs share a model, but not its scales.
  const std::string key =
      fmt::format("{}\n{}\n{}", fs::weakly_canonical(config.model, ignored).string(),
                  WordOf(kPrefillWords, config.prefill), WordOf(kCacheScaleWords, config.scales));
  std::unique_ptr<OpenedModel>& model = models_[key];
  if (!model) {
    model = std::make_unique<OpenedModel>(config.model, InputsOf(config, where_).running, loader_);
  }
  return *model;
}

Target OpenedGateModels::TargetOf(const GateConfig& config) {
  return kvtune::TargetOf(InputsOf(config, where_), Open(config).config());
}

PrecisionPlan OpenedGateModels::PlanOf(const GateConfig& config) {
  const Target target = TargetOf(config);
  return ReadPlanSource(PlanSourceFrom(config.plan, config.file.parent_path()),
                        Open(config).config().layers.size(), target);
}

std::string OpenedGateModels::HashOf(const GateConfig& config) { return Open(config).hash(); }

PromptSet OpenedGateModels::PromptsOf(const GateConfig& config) {
  PromptSet prompts = LoadPrompts(InputsOf(config, where_), Open(config).config());
  if (prompts.hash != config.prompts_hash) {
    throw Error(fmt::format(
        "{}: \"prompts_hash\": found the prompts {} ({} of {} tokens in all), expected {}",
        config.file.string(), prompts.hash, prompts.prompts.size(), prompts.token_count,
        config.prompts_hash));
  }
  if (prompts.prompts.size() < kFewestPrompts) {
    throw Error(fmt::format(
        "{}: found {} prompts, expected at least {}: an interval over fewer means nothing",
        config.file.string(), prompts.prompts.size(), kFewestPrompts));
  }
  return prompts;
}

Provenance OpenedGateModels::RunOf(const GateConfig& config, const PromptSet& prompts) {
  return Open(config).ProvenanceOf(InputsOf(config, where_), prompts);
}

MeasuredModel& OpenedGateModels::ModelOf(const GateConfig& config, const PromptSet& prompts) {
  OpenedModel& opened = Open(config);
  opened.LearnScales(TargetOf(config), prompts);
  if (!cache_.empty()) {
    const Provenance run = RunOf(config, prompts);
    UseExactCache(cache_,
                  {.version = run.version,
                   .model_hash = run.model_hash,
                   .prompts_hash = run.prompts_hash,
                   .device = run.device,
                   .dtype = run.dtype,
                   .prefill = run.prefill},
                  opened.model(), prompts.prompts);
  }
  return opened.model();
}

TaskItems OpenedGateModels::TaskOf(const GateConfig& config, const PromptSet& prompts) {
  const TaskOptions options{.file = config.task->file,
                            .overrides = config.task->overrides,
                            .apply_chat_template = config.task->apply_chat_template};
  auto task = std::make_unique<PreparedTask>(options, config.model, Open(config).config());
  task->RequireThatPlansAreRead(config.prefill);
  RequireVerdicts(config, task->task());
  task->RequireApartFrom(prompts.prompts, "gate's");
  TaskItems items{.hash = task->verdict_hash(), .count = task->task().items.size()};
  tasks_[config.file] = std::move(task);
  return items;
}

std::vector<std::vector<char>> OpenedGateModels::AnswersOf(const GateConfig& config,
                                                           std::span<const PrecisionPlan> plans) {
  TaskScorer scorer(Open(config).model(), *tasks_.at(config.file), nullptr);
  const auto results = scorer.Score(plans, {});
  std::vector<std::vector<char>> answers;
  for (const std::vector<ItemResult>& of_plan : results.value()) {
    std::vector<char>& right = answers.emplace_back();
    for (const ItemResult& result : of_plan) right.push_back(result.grade.correct());
  }
  return answers;
}

double OpenedGateModels::NoiseFloorOf(const GateConfig& config, const PromptSet& prompts) {
  return Open(config).NoiseFloor(prompts);
}

void OpenedGateModels::RequireUnchanged(const GateConfig& config) {
  Open(config).RequireUnchanged();
}

CostFunction OpenedGateModels::CostFor(const GateConfig& config) {
  return kvtune::CostFor(TargetOf(config), Open(config).config(), config.context);
}

}  // namespace kvtune
