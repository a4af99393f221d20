#include "lib/runner/model_runner.h"

#include <algorithm>
#include <cstring>
#include <iterator>
#include <optional>
#include <utility>

#include "lib/base/error.h"
#include "lib/base/log.h"
#include "lib/kernels/parallel_loop.h"
#include "lib/runner/device_memory.h"
#include "lib/runner/generate.h"
#include "lib/runner/observe.h"
#include "lib/runner/plan_tree.h"
#include "lib/runner/runner_state.h"
#include "lib/runner/torch_device.h"
#include "lib/runner/torch_errors.h"

namespace kvtune {
namespace {

LayerObservation EmptyObservation(const LayerConfig& layer, int64_t query_heads,
                                  size_t pair_count) {
  LayerObservation observation;
  observation.pairs.resize(pair_count);
  const auto key_channels = static_cast<size_t>(layer.kv_width(KvSide::kKey));
  for (PairErrorSums& pair : observation.pairs) {
    pair.kv_heads.resize(static_cast<size_t>(layer.kv_heads));
    pair.key_channel_error.assign(key_channels, 0);
  }
  observation.concentration_sum.assign(static_cast<size_t>(query_heads), 0);
  observation.maxima.key.assign(static_cast<size_t>(layer.kv_heads), 0);
  observation.maxima.value.assign(static_cast<size_t>(layer.kv_heads), 0);
  observation.key_channel_max.assign(key_channels, 0);
  observation.key_channel_total.assign(key_channels, 0);
  return observation;
}

ExactPass PassOf(const Reference& reference) {
  const at::Tensor hidden = reference.hidden.cpu().contiguous();
  ExactPass pass{.hidden = std::vector<std::byte>(hidden.nbytes()),
                 .scored = reference.score.tokens,
                 .nll_sum = reference.score.nll_sum,
                 .top1_matches = reference.score.top1_matches};
  std::memcpy(pass.hidden.data(), hidden.const_data_ptr(), pass.hidden.size());
  return pass;
}

// Returns the score of the exact model against itself, which loses nothing at any position.
PromptScore ScoreOf(const ExactPass& pass) {
  return {.tokens = pass.scored,
          .nll_sum = pass.nll_sum,
          .exact_nll_sum = pass.nll_sum,
          .top1_matches = pass.top1_matches,
          .token_kl = std::vector<float>(static_cast<size_t>(pass.scored))};
}

}  // namespace

ModelRunner::ModelRunner(const Checkpoint& checkpoint, const ModelOptions& options)
    : ModelRunner(LoadRunner(checkpoint, options, std::nullopt, Sharing::kAttention)) {}

ModelRunner::ModelRunner(std::unique_ptr<RunnerState> state) : state_(std::move(state)) {}

ModelRunner::~ModelRunner() = default;

const ModelConfig& ModelRunner::config() const { return state_->decoder.config(); }

std::string ModelRunner::device_name() const { return state_->decoder.options().device().str(); }

int64_t ModelRunner::peak_device_bytes() const {
  int64_t peak = 0;  // of the GPU that has taken most
  for (const at::Device& device : state_->decoder.stages())
    peak = std::max(peak, PeakMemory(device));
  return peak;
}

std::string ModelRunner::data_type_name() const {
  return TypeName(c10::typeMetaToScalarType(state_->decoder.options().dtype()));
}

bool ModelRunner::streams_weights() const { return state_->decoder.streams(); }

void ModelRunner::SetCacheMaxima(std::vector<LayerMaxima> maxima) {
  WithTorchErrors("setting the scales of the cache",
                  [&] { state_->decoder.SetCacheMaxima(std::move(maxima)); });
}

std::vector<LayerObservation> ModelRunner::ObserveAttention(std::span<const TokenIds> prompts,
                                                            std::span<const PrecisionPair> pairs,
                                                            const OnProgress& progress) {
  std::vector<LayerObservation> nothing;
  for (const LayerConfig& layer : config().layers) {
    nothing.push_back(EmptyObservation(layer, config().query_heads, pairs.size()));
  }
  std::vector<std::vector<LayerObservation>> by_prompt(prompts.size(), nothing);
  WithTorchErrors("measuring sensitivity", [&] {
    // One prompt at a time, because sums are kept for every prompt.
    const std::vector<PromptBatch> batches = EachAlone(prompts);
    const auto begin = [&](const PromptBatch& batch) {
      return state_->decoder.Embed(state_->decoder.IdsOf(prompts[batch.prompts.front()]));
    };
    // A layer's sums are read when a GPU has the work of the next layer, so that it is never idle.
    std::vector<std::optional<MeasuredLayer>> newest(prompts.size());
    const auto advance = [&](const PromptBatch& batch, size_t layer, at::Tensor hidden) {
      const size_t i = batch.prompts.front();
      const OperatorsOnOneThread same_sums;
      MeasuredLayer measured = ObserveLayer(state_->decoder, layer, hidden, pairs,
                                            state_->PassOf(prompts[i]).exact_queries);
      if (newest[i]) newest[i]->AddTo(by_prompt[i][layer - 1]);
      newest[i] = std::move(measured);
      return hidden;
    };
    const auto end = [&](const PromptBatch& batch, const at::Tensor&) {
      const size_t i = batch.prompts.front();
      newest[i]->AddTo(by_prompt[i].back());
    };
    state_->walk.Run(batches, 1, {begin, advance, end}, progress);
  });
  // The prompts are added in their own order, not in the order in which threads finish, so that the
  // sums always round the same way.
  std::vector<LayerObservation> total = nothing;
  for (const std::vector<LayerObservation>& of_prompt : by_prompt) {
    for (size_t layer = 0; layer < total.size(); ++layer) total[layer] += of_prompt[layer];
  }
  return total;
}

std::vector<std::vector<PromptScore>> ModelRunner::ScorePlans(std::span<const PrecisionPlan> plans,
                                                              std::span<const TokenIds> prompts,
                                                              const OnProgress& progress) {
  std::vector<std::vector<PromptScore>> scores;
  // An attempt that fails has reported prompts, which the next one must not report again.
  int64_t finished = 0, reported = 0;
  const auto report = [&](int64_t count) {
    finished += count;
    if (finished > reported && progress) progress(finished - std::exchange(reported, finished));
  };
  WithTorchErrors("scoring plans", [&] {
    while (scores.size() < plans.size()) {
      const std::span<const PrecisionPlan> some =
          plans.subspan(scores.size(), std::min(state_->most_plans, plans.size() - scores.size()));
      // A prompt counts as finished when the last plans are through it.
      const bool is_last = scores.size() + some.size() == plans.size();
      finished = 0;
      try {
        std::ranges::move(ScoreTogether(some, prompts, is_last ? OnProgress(report) : OnProgress()),
                          std::back_inserter(scores));
        continue;
      } catch (const c10::OutOfMemoryError&) {
        if (some.size() == 1) throw;
      }
      state_->most_plans = some.size() / 2;
      for (const at::Device& device : state_->decoder.stages()) ReturnUnusedMemory(device);
      LogInfo("the device has no room for " + std::to_string(some.size()) +
              " plans at a time; scoring " + std::to_string(state_->most_plans));
    }
  });
  return scores;
}

std::vector<std::vector<PromptScore>> ModelRunner::ScoreTogether(
    std::span<const PrecisionPlan> plans, std::span<const TokenIds> prompts,
    const OnProgress& progress) {
  std::vector<std::vector<PromptScore>> scores(plans.size(),
                                               std::vector<PromptScore>(prompts.size()));
  // The score of an exact plan is that of the reference, so only the other plans have to run.
  std::vector<PrecisionPlan> quantized;
  std::copy_if(plans.begin(), plans.end(), std::back_inserter(quantized),
               [](const PrecisionPlan& plan) { return !plan.is_exact(); });
  const PlanTree tree = quantized.empty()                      ? PlanTree{}
                        : state_->sharing < Sharing::kPrefixes ? BuildPlanChains(quantized)
                                                               : BuildPlanTree(quantized);
  const auto add = [&](size_t p, std::span<const PromptScore> of_leaf) {
    size_t next_quantized = 0;
    for (size_t i = 0; i < plans.size(); ++i) {
      scores[i][p] = plans[i].is_exact() ? state_->ReferenceOf(prompts[p]).score
                                         : of_leaf[tree.leaf_of_plan[next_quantized++]];
    }
  };
  state_->LearnReferences(prompts);
  if (quantized.empty()) {
    for (size_t p = 0; p < prompts.size(); ++p) add(p, {});
    if (progress) progress(static_cast<int64_t>(prompts.size()));
    return scores;
  }
  const auto advance = [&](const PromptBatch& batch, size_t layer, const at::Tensor& hidden) {
    const size_t parents = layer == 0 ? 1 : tree.layers[layer - 1].size();
    return AdvancePlans(state_->decoder, layer,
                        RepeatedLayer(tree.layers[layer], parents, batch.prompts.size()), hidden,
                        state_->PassOf(prompts[batch.prompts.front()]));
  };
  const auto end = [&](const PromptBatch& batch, const at::Tensor& hidden) {
    const std::vector<std::vector<PromptScore>> of_batch = state_->Score(prompts, batch, hidden);
    for (size_t i = 0; i < of_batch.size(); ++i) add(batch.prompts[i], of_batch[i]);
  };
  state_->RunTogether(prompts, tree.layers.back().size(), advance, end, progress);
  return scores;
}

std::vector<ExactPass> ModelRunner::ExactPasses(std::span<const TokenIds> prompts) {
  std::vector<ExactPass> passes;
  WithTorchErrors("running the exact model", [&] {
    state_->LearnReferences(prompts);
    for (const TokenIds& prompt : prompts) passes.push_back(PassOf(state_->ReferenceOf(prompt)));
  });
  return passes;
}

void ModelRunner::RestoreExactPasses(std::span<const TokenIds> prompts,
                                     std::span<const ExactPass> passes) {
  const c10::InferenceMode no_gradients;
  for (size_t i = 0; i < prompts.size(); ++i) {
    const auto tokens = static_cast<int64_t>(prompts[i].size());
    const at::Tensor hidden =
        at::empty({tokens, config().hidden_size}, state_->decoder.options().device(at::kCPU));
    if (hidden.nbytes() != passes[i].hidden.size() || passes[i].scored < 1 ||
        passes[i].scored >= tokens) {
      throw Error("restoring the exact model's pass: found " +
                  std::to_string(passes[i].hidden.size()) + " bytes for a prompt of " +
                  std::to_string(tokens) + " tokens, expected " + std::to_string(hidden.nbytes()));
    }
    std::memcpy(hidden.mutable_data_ptr(), passes[i].hidden.data(), passes[i].hidden.size());
    WithTorchErrors("restoring the exact model's pass", [&] {
      state_->references.insert_or_assign(
          prompts[i], Reference{hidden.to(state_->decoder.options().device()), ScoreOf(passes[i])});
    });
  }
}

void ModelRunner::Generate(const GenerationRequest& request, const OnGeneratedRow& finished) {
  WithTorchErrors("generating", [&] { GenerateRows(*state_, request, finished); });
}

double ModelRunner::NoiseFloor(std::span<const TokenIds> prompts) {
  std::vector<PromptScore> scores(prompts.size());
  WithTorchErrors("measuring the noise floor", [&] {
    state_->LearnReferences(prompts);
    const PlanPass pass{.rounding_noise = true};
    state_->RunExact(prompts, pass, [&](const PromptBatch& batch, const at::Tensor& hidden) {
      const std::vector<std::vector<PromptScore>> of_batch = state_->Score(prompts, batch, hidden);
      for (size_t i = 0; i < of_batch.size(); ++i) scores[batch.prompts[i]] = of_batch[i].front();
    });
  });
  double sum = 0, tokens = 0;
  for (const PromptScore& of_prompt : scores) {
    for (const float kl : of_prompt.token_kl) sum += static_cast<double>(kl);
    tokens += static_cast<double>(of_prompt.tokens);
  }
  return tokens > 0 ? sum / tokens : 0;
}

}  // namespace kvtune
