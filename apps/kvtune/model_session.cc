#include "apps/kvtune/model_session.h"

#include <fmt/format.h>

#include "lib/base/error.h"
#include "lib/base/log.h"
#include "lib/calib/cache_scales.h"

namespace kvtune {
namespace {

DataType DataTypeOf(const std::string& name) {
  if (name == "float32") return DataType::kFloat32;
  if (name == "bfloat16") return DataType::kBFloat16;
  if (name == "float16") return DataType::kFloat16;
  return DataType::kAuto;
}

WeightMode WeightModeOf(const std::string& name) {
  if (name == "resident") return WeightMode::kResident;
  if (name == "stream") return WeightMode::kStream;
  return WeightMode::kAuto;
}

}  // namespace

RunnerOptions RunnerOptionsOf(const ModelArguments& arguments) {
  return {.device = arguments.device,
          .data_type = DataTypeOf(arguments.dtype),
          .threads = arguments.threads,
          .prefill = arguments.prefill == "exact" ? PrefillMode::kExact : PrefillMode::kQuantized,
          .weights = WeightModeOf(arguments.weights),
          .max_activation_bytes = static_cast<int64_t>(arguments.max_activation_memory)};
}

Provenance ProvenanceOf(const ModelArguments& arguments, std::string model_hash,
                        const PromptSet& prompts, const ModelRunner& runner) {
  return {.version = KVTUNE_VERSION,
          .model = arguments.model.string(),
          .model_hash = std::move(model_hash),
          .prompts = prompts.sources,
          .prompts_hash = prompts.hash,
          .prompt_count = static_cast<int64_t>(prompts.prompts.size()),
          .token_count = prompts.token_count,
          .target = arguments.target,
          .device = runner.device_name(),
          .dtype = runner.data_type_name(),
          .prefill = arguments.prefill,
          .seed = arguments.seed,
          .context = arguments.context,
          .layers = LayerShapesOf(runner.config())};
}

ModelSession::ModelSession(const ModelArguments& arguments, const std::string& held_out)
    : checkpoint_(arguments.model),
      target_(TargetFor(FindTarget(arguments.target), checkpoint_.config())),
      prompts_(LoadRunPrompts(arguments, held_out, checkpoint_.config())),
      runner_(checkpoint_, RunnerOptionsOf(arguments)),
      run_(ProvenanceOf(arguments, checkpoint_.ContentHash(), prompts_.calibration, runner_)) {
  LogInfo(fmt::format("model: {} of {} layers on {} in {}{}", config().architecture,
                      config().layer_count(), run_.device, run_.dtype,
                      runner_.streams_weights() ? ", its layers read in every pass" : ""));
  if (NeedCalibratedScales(target_.pairs)) CalibrateScales(runner_, prompts_.calibration.prompts);
}

double ModelSession::MeasureNoiseFloor() {
  const double floor = runner_.NoiseFloor(prompts_.calibration.prompts);
  LogInfo(fmt::format("noise floor in {}: {:.2g} nats per token; plans closer than this are ties{}",
                      run_.dtype, floor,
                      run_.dtype == "float32" ? "" : " (--dtype float32 tells more apart)"));
  return floor;
}

CostFunction ModelSession::cost() const {
  return [config = config(), target = target_, context = run_.context](const PrecisionPlan& plan) {
    PlanCost cost = CostOf(target, plan, config, context);
    cost.padded_bytes_per_token = PaddedBytesPerToken(target, plan, config, context);
    return cost;
  };
}

}  // namespace kvtune
