// A MeasuredModel without a tensor: losses and observations from the formula of the fake evaluator,
// calls on record, faults where a test wants them.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <map>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "lib/base/error.h"
#include "lib/core/measured_model.h"
#include "tests/support/fake_evaluator.h"

namespace kvtune {

enum class FakeCallKind {
  kObserve,
  kSetMaxima,
  kScore,
  kNoiseFloor,
  kExactPasses,
  kRestore,
  kGenerate
};

// One call of a FakeModel, with its arguments.
struct FakeCall {
  FakeCallKind kind = FakeCallKind::kScore;
  std::vector<PrecisionPlan> plans = {};  // kScore, kGenerate
  std::vector<PrecisionPair> pairs = {};  // kObserve
  std::vector<TokenIds> prompts = {};
  std::vector<GenerationRow> rows = {};  // kGenerate
  int64_t shared_tokens = 0;             // kGenerate
};

// What a fake does and what was asked of it. It outlives the models that follow it, so that a test
// can look at the calls of a model that a session owns.
struct FakeModelScript {
  FakeLosses losses;  // a weight for every layer
  double noise_floor = 1e-9;
  std::string device_name = "cpu";
  std::string data_type_name = "float32";
  bool streams_weights = false;
  int64_t peak_device_bytes = 0;
  std::function<void(const FakeCall&)> on_call = {};  // before a call does anything
  // What it writes; what is behind the first end or the most tokens is cut.
  std::function<TokenIds(const PrecisionPlan&, const TokenIds& prompt)> writes = {};
  // Counted from 1 over all calls on record; 0: in none.
  size_t error_in_call = 0;
  size_t nan_in_call = 0;

  std::vector<FakeCall> calls = {};
  int64_t exact_passes_run = 0;  // prompts whose exact pass was not restored

  std::vector<FakeCall> CallsOf(FakeCallKind kind) const {
    std::vector<FakeCall> found;
    for (const FakeCall& call : calls) {
      if (call.kind == kind) found.push_back(call);
    }
    return found;
  }
  size_t CountOf(FakeCallKind kind) const { return CallsOf(kind).size(); }
};

// Layers of two KV heads of 64 channels, as FakeCost has one.
inline ModelConfig FakeConfig(size_t layer_count) {
  ModelConfig config;
  config.architecture = "LlamaForCausalLM";
  config.layers.assign(layer_count, {.kv_heads = 2, .key_head_dim = 64, .value_head_dim = 64});
  config.hidden_size = 32;
  config.intermediate_size = 48;
  config.query_heads = 4;
  config.vocab_size = 64;
  config.max_position_embeddings = 256;
  return config;
}

// A prompt's loss follows from its first token and its length from its number of tokens, so that a
// prompt scores the same in any company.
class FakeModel : public MeasuredModel {
 public:
  // REQUIRES: script outlives the model and has as many weights as config has layers.
  FakeModel(ModelConfig config, FakeModelScript& script)
      : config_(std::move(config)), script_(script) {}

  const ModelConfig& config() const override { return config_; }
  std::string device_name() const override { return script_.device_name; }
  std::string data_type_name() const override { return script_.data_type_name; }
  bool streams_weights() const override { return script_.streams_weights; }
  int64_t peak_device_bytes() const override { return script_.peak_device_bytes; }

  std::vector<LayerObservation> ObserveAttention(std::span<const TokenIds> prompts,
                                                 std::span<const PrecisionPair> pairs,
                                                 const OnProgress& progress) override {
    const double factor = Begin({.kind = FakeCallKind::kObserve,
                                 .pairs = {pairs.begin(), pairs.end()},
                                 .prompts = {prompts.begin(), prompts.end()}});
    RequireMaximaFor(pairs);
    double tokens = 0;
    for (const TokenIds& prompt : prompts) tokens += static_cast<double>(prompt.size());
    std::vector<LayerObservation> observations;
    for (size_t layer = 0; layer < config_.layers.size(); ++layer) {
      observations.push_back(Observe(layer, tokens * factor, pairs));
    }
    if (progress) progress(static_cast<int64_t>(prompts.size()));
    return observations;
  }

  void SetCacheMaxima(std::vector<LayerMaxima> maxima) override {
    Begin({.kind = FakeCallKind::kSetMaxima});
    maxima_ = std::move(maxima);
  }

  std::vector<std::vector<PromptScore>> ScorePlans(std::span<const PrecisionPlan> plans,
                                                   std::span<const TokenIds> prompts,
                                                   const OnProgress& progress) override {
    const double factor = Begin({.kind = FakeCallKind::kScore,
                                 .plans = {plans.begin(), plans.end()},
                                 .prompts = {prompts.begin(), prompts.end()}});
    for (const TokenIds& prompt : prompts) PassOf(prompt);
    std::vector<std::vector<PromptScore>> scores;
    for (const PrecisionPlan& plan : plans) {
      RequireMaximaFor(plan.layers);
      const double loss = script_.losses.Of(plan) * factor;
      std::vector<PromptScore>& of_plan = scores.emplace_back();
      for (const TokenIds& prompt : prompts) of_plan.push_back(ScoreOf(loss, prompt));
    }
    if (progress) progress(static_cast<int64_t>(prompts.size()));
    return scores;
  }

  double NoiseFloor(std::span<const TokenIds> prompts) override {
    const double factor =
        Begin({.kind = FakeCallKind::kNoiseFloor, .prompts = {prompts.begin(), prompts.end()}});
    for (const TokenIds& prompt : prompts) PassOf(prompt);
    return script_.noise_floor * factor;
  }

  std::vector<ExactPass> ExactPasses(std::span<const TokenIds> prompts) override {
    Begin({.kind = FakeCallKind::kExactPasses, .prompts = {prompts.begin(), prompts.end()}});
    std::vector<ExactPass> passes;
    for (const TokenIds& prompt : prompts) passes.push_back(PassOf(prompt));
    return passes;
  }

  void RestoreExactPasses(std::span<const TokenIds> prompts,
                          std::span<const ExactPass> passes) override {
    Begin({.kind = FakeCallKind::kRestore, .prompts = {prompts.begin(), prompts.end()}});
    for (size_t i = 0; i < prompts.size(); ++i) {
      if (passes[i].hidden.size() != prompts[i].size()) {
        throw Error("restoring exact passes: found one of another prompt");
      }
      passes_[prompts[i]] = passes[i];
    }
  }

  void Generate(const GenerationRequest& request, const OnGeneratedRow& finished) override {
    Begin({.kind = FakeCallKind::kGenerate,
           .plans = {request.plans.begin(), request.plans.end()},
           .prompts = {request.prompts.begin(), request.prompts.end()},
           .rows = {request.rows.begin(), request.rows.end()},
           .shared_tokens = request.shared_tokens});
    for (size_t row = 0; row < request.rows.size(); ++row) {
      const auto [plan, prompt] = request.rows[row];
      GeneratedRow generated{row, {}};
      for (const int32_t id : script_.writes(request.plans[plan], request.prompts[prompt])) {
        if (std::ranges::count(request.end_tokens, id) > 0) break;
        generated.tokens.push_back(id);
        if (std::ssize(generated.tokens) == request.max_new_tokens) break;
        if (request.stops.AreIn(generated.tokens)) break;
      }
      if (!finished(generated)) return;
    }
  }

 private:
  // Notes the call. What it returns multiplies every result of the call: 1, or a NaN.
  double Begin(FakeCall call) {
    if (script_.on_call) script_.on_call(call);
    script_.calls.push_back(std::move(call));
    const size_t number = script_.calls.size();
    if (number == script_.error_in_call) {
      throw Error("running the fake model: found a call that it is told to fail in");
    }
    return number == script_.nan_in_call ? std::numeric_limits<double>::quiet_NaN() : 1;
  }

  void RequireMaximaFor(std::span<const PrecisionPair> pairs) const {
    for (const PrecisionPair pair : pairs) {
      for (const KvFormatId id : {pair.key, pair.value}) {
        if (FormatOf(id).scale == ScaleKind::kCalibrated && maxima_.empty()) {
          throw Error("running the fake model: found no cache maxima, expected them");
        }
      }
    }
  }

  // Every relative error of a pair is what the pair adds to the loss, so that screening by e_o
  // agrees with the losses.
  LayerObservation Observe(size_t layer, double tokens,
                           std::span<const PrecisionPair> pairs) const {
    const LayerConfig& sizes = config_.layers[layer];
    const auto kv_heads = static_cast<size_t>(sizes.kv_heads);
    const auto key_channels = static_cast<size_t>(sizes.kv_width(KvSide::kKey));
    LayerObservation observed;
    for (const PrecisionPair pair : pairs) {
      const double error = tokens * script_.losses.layer_weights[layer] * FakePairError(pair);
      const HeadErrorSums head{.k_error = error,
                               .k_total = tokens,
                               .v_error = error,
                               .v_total = tokens,
                               .o_error = error,
                               .o_total = tokens,
                               .a_error = error,
                               .k_ratio = error,
                               .v_ratio = error,
                               .o_ratio = error,
                               .k_count = tokens,
                               .v_count = tokens,
                               .o_count = tokens,
                               .a_count = tokens};
      observed.pairs.push_back(
          {std::vector<HeadErrorSums>(kv_heads, head), std::vector<double>(key_channels, error)});
    }
    observed.concentration_sum.assign(static_cast<size_t>(config_.query_heads), tokens / 2);
    observed.concentration_count = tokens;
    observed.key_channel_max.assign(key_channels, 1);
    observed.key_channel_total.assign(key_channels, tokens);
    const auto largest = static_cast<float>(layer + 1);
    observed.maxima = {std::vector<float>(kv_heads, largest),
                       std::vector<float>(kv_heads, 2 * largest)};
    return observed;
  }

  // With a KL for every scored token, as the port promises.
  static PromptScore ScoreOf(double loss, const TokenIds& prompt) {
    const auto tokens = static_cast<int64_t>(prompt.size()) - 1;
    const double kl = FakeLossOnPrompt(loss, static_cast<double>(prompt.front()));
    PromptScore score = FakePromptScore(kl, tokens);
    const std::vector<float> two = std::exchange(score.token_kl, {});
    for (int64_t i = 0; i < tokens / 2; ++i) {
      score.token_kl.insert(score.token_kl.end(), two.begin(), two.end());
    }
    if (tokens % 2 == 1) score.token_kl.push_back(static_cast<float>(kl));
    return score;
  }

  // Runs the prompt's exact pass unless it is known.
  const ExactPass& PassOf(const TokenIds& prompt) {
    const auto [pass, is_new] = passes_.try_emplace(prompt);
    if (is_new) {
      ++script_.exact_passes_run;
      const auto scored = static_cast<int64_t>(prompt.size()) - 1;
      pass->second = {.hidden = std::vector<std::byte>(prompt.size(), std::byte{7}),
                      .scored = scored,
                      .nll_sum = FakePromptScore(0, scored).nll_sum,
                      .top1_matches = scored / 2};
    }
    return pass->second;
  }

  ModelConfig config_;
  FakeModelScript& script_;
  std::vector<LayerMaxima> maxima_;
  std::map<TokenIds, ExactPass> passes_;
};

}  // namespace kvtune
