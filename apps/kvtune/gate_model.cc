#include "apps/kvtune/gate_model.h"

#include <fmt/format.h>

#include <cmath>

#include "apps/kvtune/model_session.h"
#include "apps/kvtune/run_prompts.h"
#include "lib/base/error.h"
#include "lib/base/progress.h"
#include "lib/calib/cache_scales.h"
#include "lib/calib/exact_cache.h"

namespace kvtune {
namespace {

// A loss that is not a number compares as neither better nor worse: it must not pass.
void RequireFiniteLoss(const PromptMeasurement& measured, size_t prompt) {
  if (std::isfinite(measured.kl_sum) && std::isfinite(measured.delta_nll_sum)) return;
  throw Error(fmt::format(
      "scoring prompt {}: found a KL of {} and a change of nll of {}, expected finite numbers",
      prompt, measured.kl_sum, measured.delta_nll_sum));
}

}  // namespace

GateModel::GateModel(const std::filesystem::path& model, const std::string& prefill,
                     ModelArguments where)
    : arguments_([&] {
        where.model = model;
        where.prefill = prefill;
        return std::move(where);
      }()),
      checkpoint_(model) {}

const std::string& GateModel::hash() {
  if (hash_.empty()) hash_ = checkpoint_.ContentHash();
  return hash_;
}

ModelArguments GateModel::ArgumentsOf(const GateConfig& config) const {
  ModelArguments arguments = arguments_;
  arguments.target = config.target;
  arguments.prompts = config.prompts;
  arguments.max_prompts = config.max_prompts;
  arguments.max_tokens = config.max_tokens;
  arguments.long_prompts = config.long_prompts;
  arguments.seed = config.seed;
  arguments.context = config.context;
  return arguments;
}

PromptSet GateModel::Prompts(const GateConfig& config) const {
  PromptSet prompts = LoadPrompts(ArgumentsOf(config), checkpoint_.config());
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

ModelRunner& GateModel::runner() {
  if (!runner_) runner_ = std::make_unique<ModelRunner>(checkpoint_, RunnerOptionsOf(arguments_));
  return *runner_;
}

Provenance GateModel::RunOf(const GateConfig& config, const PromptSet& prompts) {
  return ProvenanceOf(ArgumentsOf(config), hash(), prompts, runner());
}

void GateModel::LearnScales(const Target& target, const PromptSet& prompts) {
  if (NeedCalibratedScales(target.pairs)) CalibrateScales(runner(), prompts.prompts);
}

void GateModel::UseCache(const std::filesystem::path& folder, const Provenance& run,
                         const PromptSet& prompts) {
  UseExactCache(folder,
                {.version = run.version,
                 .model_hash = run.model_hash,
                 .prompts_hash = run.prompts_hash,
                 .device = run.device,
                 .dtype = run.dtype,
                 .prefill = run.prefill},
                runner(), prompts.prompts);
}

double GateModel::NoiseFloor(const PromptSet& prompts) {
  const auto known = noise_floors_.find(prompts.hash);
  if (known != noise_floors_.end()) return known->second;
  return noise_floors_.emplace(prompts.hash, runner().NoiseFloor(prompts.prompts)).first->second;
}

std::vector<Measurement> GateModel::Measure(std::span<const PrecisionPlan> plans,
                                            const PromptSet& prompts, const GateConfig& gate) {
  std::vector<PrecisionPlan> scored(plans.begin(), plans.end());
  scored.push_back(PrecisionPlan::Uniform(kExactPair, static_cast<size_t>(config().layer_count())));
  Progress progress(fmt::format("scoring {} plans", plans.size()),
                    static_cast<int64_t>(prompts.prompts.size()), "prompts");
  const std::vector<std::vector<PromptLosses>> losses =
      runner().ScorePlans(scored, prompts.prompts, [&](int64_t count) { progress.Advance(count); });
  progress.Dismiss();
  std::vector<int64_t> tokens;
  for (const PromptLosses& exact : losses.back())
    tokens.push_back(static_cast<int64_t>(exact.token_kl.size()));
  const size_t tail = TailLength(tokens);
  std::vector<Measurement> measurements;
  for (size_t i = 0; i < plans.size(); ++i) {
    const PlanCost cost = CostOf(FindTarget(gate.target), plans[i], config(), gate.context);
    Measurement measured{.bytes_per_token = cost.bytes_per_token, .prompts = {}};
    for (size_t p = 0; p < prompts.prompts.size(); ++p) {
      const PromptLosses& of_plan = losses[i][p];
      measured.prompts.push_back(MeasurePrompt(of_plan.token_kl,
                                               of_plan.nll_sum - losses.back()[p].nll_sum,
                                               of_plan.top1_matches, tail));
      RequireFiniteLoss(measured.prompts.back(), p);
    }
    measurements.push_back(std::move(measured));
  }
  return measurements;
}

}  // namespace kvtune
