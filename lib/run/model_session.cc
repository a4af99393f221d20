#include "lib/run/model_session.h"

#include <fmt/format.h>

#include <cmath>
#include <utility>

#include "lib/base/error.h"
#include "lib/base/log.h"
#include "lib/base/version.h"
#include "lib/calib/cache_scales.h"
#include "lib/targets/kernels.h"

namespace kvtune {

OpenedModel::OpenedModel(const std::filesystem::path& directory, ModelOptions options,
                         ModelLoader loader)
    : options_(std::move(options)), loader_(std::move(loader)), checkpoint_(directory) {}

const std::string& OpenedModel::hash() {
  if (hash_.empty()) hash_ = checkpoint_.ContentHash();
  return hash_;
}

MeasuredModel& OpenedModel::model() {
  if (!model_) model_ = loader_(checkpoint_, options_);
  return *model_;
}

void OpenedModel::RequireUnchanged() {
  if (!model().streams_weights()) return;
  const std::string now = checkpoint_.ContentHash();
  if (now == hash()) return;
  throw Error(
      fmt::format("reading {}: found the content {}, {} when it was opened, expected a model that "
                  "nothing writes "
                  "while it is read",
                  checkpoint_.directory().string(), now, hash()));
}

Provenance OpenedModel::ProvenanceOf(const RunInputs& inputs, const PromptSet& prompts) {
  const MeasuredModel& loaded = model();
  return {.version = std::string(Version()),
          .model = inputs.model.string(),
          .model_hash = hash(),
          .prompts = prompts.sources,
          .prompt_template = inputs.prompts.prompt_template,
          .prompts_hash = prompts.hash,
          .prompt_count = static_cast<int64_t>(prompts.prompts.size()),
          .token_count = prompts.token_count,
          .target = inputs.target,
          .device = loaded.device_name(),
          .dtype = loaded.data_type_name(),
          .prefill = std::string(WordOf(kPrefillWords, inputs.running.prefill)),
          .seed = inputs.seed,
          .context = inputs.context,
          .scales = inputs.scales,
          .kernels =
              HasAllDefaultKernels(FindTarget(inputs.target)) ? KernelChoice::kAll : inputs.kernels,
          .module_prefix = checkpoint_.StoredName("model."),
          .layers = LayerShapesOf(config())};
}

void OpenedModel::LearnScales(const Target& target, const PromptSet& prompts) {
  if (!NeedCalibratedScales(target.pairs)) return;
  if (target.scales == CacheScales::kCheckpoint) {
    UseStoredScales(model(), checkpoint_);
  } else {
    CalibrateScales(model(), prompts.prompts);
  }
}

Target TargetOf(const RunInputs& inputs, const ModelConfig& config) {
  Target target = TargetFor(FindTarget(inputs.target), config);
  if (inputs.scales == CacheScales::kCheckpoint) target = WithStoredScales(std::move(target));
  if (inputs.kernels == KernelChoice::kDefault) target = WithDefaultKernels(std::move(target));
  return target;
}

double OpenedModel::NoiseFloor(const PromptSet& prompts) {
  const auto known = noise_floors_.find(prompts.hash);
  if (known != noise_floors_.end()) return known->second;
  const double floor = model().NoiseFloor(prompts.prompts);
  if (!std::isfinite(floor)) {
    throw Error(fmt::format(
        "measuring the noise floor: found {} nats per token, expected a finite number", floor));
  }
  return noise_floors_.emplace(prompts.hash, floor).first->second;
}

CostFunction CostFor(const Target& target, const ModelConfig& config, int64_t context) {
  return [config, target, context](const PrecisionPlan& plan) {
    PlanCost cost = CostOf(target, plan, config, context);
    cost.padded_bytes_per_token = PaddedBytesPerToken(target, plan, config, context);
    return cost;
  };
}

ModelSession::ModelSession(const RunInputs& inputs, const std::string& held_out,
                           const ModelLoader& loader)
    : opened_(inputs.model, inputs.running, loader),
      target_(TargetOf(inputs, config())),
      prompts_(LoadRunPrompts(inputs, held_out, config())),
      run_(opened_.ProvenanceOf(inputs, prompts_.calibration)) {
  LogInfo(fmt::format("model: {} of {} layers on {} in {}{}", config().architecture,
                      config().layer_count(), run_.device, run_.dtype,
                      model().streams_weights() ? ", its layers read in every pass" : ""));
  opened_.LearnScales(target_, prompts_.calibration);
}

double ModelSession::MeasureNoiseFloor() {
  const double floor = opened_.NoiseFloor(prompts_.calibration);
  const std::string_view more =
      run_.dtype == "float32" ? "" : " (--dtype float32 tells more apart)";
  LogInfo(
      fmt::format("losses that differ by less than {:.2g} are ties: rounding in {} makes as much{}",
                  floor, run_.dtype, more));
  LogDetail(fmt::format("noise floor: {:.6g} nats per token", floor));
  return floor;
}

}  // namespace kvtune
