#include "lib/gate/new_config.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <nlohmann/json.hpp>

#include "lib/base/error.h"

namespace kvtune {
namespace {

namespace fs = std::filesystem;

// An absolute limit is the last line of defence; the baseline is the sharp one.
constexpr double kRoom = 2;

// A limit that people can read.
double Rounded(double value) { return std::atof(fmt::format("{:.2g}", value).c_str()); }

// Twice the wrong answers of the run.
void LimitAccuracy(Limits& limits, const ScoredPlan& plan, const GateTask& named) {
  const Task task = LoadTask(named.file, named.overrides);
  if (!plan.accuracy || plan.accuracy->task != task.name ||
      plan.accuracy->items != std::ssize(task.items)) {
    return;
  }
  limits.absolute[Metric::kAccuracy] =
      std::max(0.0, 1 - Rounded(kRoom * (1 - plan.accuracy->strict)));
}

Limits LimitsOf(const ScoredPlan& plan) {
  const PlanScore& score = plan.calibration;
  Limits limits;
  limits.absolute[Metric::kKlMean] = Rounded(kRoom * score.kl_mean);
  limits.absolute[Metric::kKlP999] =
      std::max(Rounded(kRoom * score.kl_p999), limits.absolute[Metric::kKlMean]);
  limits.absolute[Metric::kTop1Agreement] =
      std::max(0.0, 1 - Rounded(kRoom * (1 - score.top1_agreement)));
  limits.absolute[Metric::kBytesPerToken] = plan.cost.bytes_per_token;
  return limits;
}

std::string SpecOf(const ScoredPlan& plan, std::span<const PrecisionPair> pairs,
                   const std::string& target) {
  std::string spec = PlanSpec(plan.plan);
  if (ParsePlanSpec(spec, plan.plan.layers.size(), pairs) == plan.plan) return spec;
  throw Error(
      fmt::format("writing a config for {}: found no spec that says the plan under the target {}, "
                  "expected one (export the plan and name its file)",
                  plan.name, target));
}

}  // namespace

GateConfig NewGateConfig(const ParetoFront& front, const ScoredPlan& plan,
                         std::span<const PrecisionPair> pairs, const fs::path& out,
                         const std::optional<GateTask>& task) {
  const Provenance& run = front.run;
  GateConfig config;
  config.name = out.stem().string();
  config.file = out;
  config.model = run.model;
  config.model_hash = run.model_hash;
  config.target = run.target;
  config.plan = SpecOf(plan, pairs, run.target);
  if (run.prompts != std::vector<std::string>{"bundled"}) {
    config.prompts.files.assign(run.prompts.begin(), run.prompts.end());
  }
  config.prompts.prompt_template = run.prompt_template;
  config.prompts_hash = run.prompts_hash;
  // The run's prompts were the first so many of the same shuffle, and have been cut already.
  config.prompts.max_prompts = run.prompt_count;
  config.prompts.max_tokens = run.token_count;
  config.prompts.long_prompts = LongPrompts::kCut;
  config.seed = run.seed;
  config.context = run.context;
  config.prefill = ValueOf(kPrefillWords, run.prefill, "prefill of the run");
  config.scales = run.scales;
  config.limits = LimitsOf(plan);
  if (task) {
    config.task = task;
    config.task->file = fs::absolute(task->file).lexically_normal();
    LimitAccuracy(config.limits, plan, *task);
  }
  GateConfigFromJson(ToJson(config), out);  // what is written can be read
  return config;
}

}  // namespace kvtune
