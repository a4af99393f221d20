#include "lib/runner/model_probe.h"

#include <optional>

#include "lib/runner/observe.h"
#include "lib/runner/plan_tree.h"
#include "lib/runner/runner_state.h"
#include "lib/runner/step_decode.h"
#include "lib/runner/torch_errors.h"

namespace kvtune {
namespace {

std::vector<float> ToVector(const at::Tensor& tensor) {
  const at::Tensor values = tensor.to(at::kFloat).cpu().contiguous();
  return {values.const_data_ptr<float>(), values.const_data_ptr<float>() + values.numel()};
}

std::optional<at::ScalarType> TypeOf(const ProbeOptions& probe) {
  if (probe.arithmetic == ProbeArithmetic::kFloat64) return at::kDouble;
  return std::nullopt;
}

}  // namespace

ModelProbe::ModelProbe(const Checkpoint& checkpoint, const ModelOptions& options,
                       const ProbeOptions& probe)
    : ModelRunner(LoadRunner(checkpoint, options, TypeOf(probe), probe.sharing)) {
  if (!probe.batch_rows) return;
  state().batch_rows = *probe.batch_rows;
  state().piece_rows = *probe.batch_rows;
}

std::vector<float> ModelProbe::Logits(const TokenIds& prompt, const PrecisionPlan& plan) {
  const c10::InferenceMode no_gradients;
  std::vector<float> logits;
  const PlanTree tree = BuildPlanTree(std::span(&plan, 1));
  const Decoder& decoder = state().decoder;
  const auto advance = [&](const PromptBatch&, size_t layer, const at::Tensor& hidden) {
    return AdvancePlans(decoder, layer, tree.layers[layer], hidden, state().PassOf(prompt));
  };
  const auto end = [&](const PromptBatch&, const at::Tensor& hidden) {
    logits = ToVector(decoder.Logits(decoder.FinalNorm(hidden.squeeze(0))));
  };
  WithTorchErrors("computing logits",
                  [&] { state().RunTogether(std::span(&prompt, 1), 1, advance, end, nullptr); });
  return logits;
}

std::vector<LayerStates> ModelProbe::ExactStates(const TokenIds& prompt) {
  const c10::InferenceMode no_gradients;
  std::vector<LayerStates> states(config().layers.size());
  const BatchSteps steps{
      .begin =
          [&](const PromptBatch&) { return state().decoder.Embed(state().decoder.IdsOf(prompt)); },
      .advance =
          [&](const PromptBatch&, size_t layer, at::Tensor hidden) {
            states[layer] = ObserveStates(state().decoder, layer, hidden);
            return hidden;
          },
      .end = [](const PromptBatch&, const at::Tensor&) {}};
  WithTorchErrors("computing the exact model's states",
                  [&] { state().walk.Run(EachAlone(std::span(&prompt, 1)), 1, steps, nullptr); });
  return states;
}

std::vector<float> ModelProbe::LogitsByDecoding(const TokenIds& prompt, const PrecisionPlan& plan,
                                                std::optional<int64_t> exact_queries) {
  const c10::InferenceMode no_gradients;
  return WithTorchErrors("decoding token by token", [&] {
    return ToVector(LogitsOfDecoding(state().decoder, plan, prompt,
                                     exact_queries.value_or(state().PassOf(prompt).exact_queries)));
  });
}

}  // namespace kvtune
