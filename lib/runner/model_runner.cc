#include "lib/runner/model_runner.h"

#include <malloc.h>
#include <omp.h>

#include <algorithm>
#include <cstring>
#include <map>

#include "lib/base/error.h"
#include "lib/kernels/parallel_loop.h"
#include "lib/runner/decoder.h"
#include "lib/runner/device_memory.h"
#include "lib/runner/layer_walk.h"
#include "lib/runner/observe.h"
#include "lib/runner/plan_tree.h"
#include "lib/runner/score.h"
#include "lib/runner/step_decode.h"
#include "lib/runner/torch.h"
#include "lib/runner/torch_device.h"

namespace kvtune {
namespace {

at::ScalarType ResolveType(DataType type, at::Device device) {
  switch (type) {
    case DataType::kAuto:
      return DefaultType(device);
    case DataType::kFloat32:
      return at::kFloat;
    case DataType::kBFloat16:
      return at::kBFloat16;
    case DataType::kFloat16:
      return at::kHalf;
    case DataType::kFloat64:
      return at::kDouble;
  }
  return at::kFloat;
}

// libtorch's own exceptions carry a stack trace over many lines; the first line says what happened.
template <typename Function>
auto WithTorchErrors(const std::string& doing, const Function& function) {
  try {
    return function();
  } catch (const c10::OutOfMemoryError& error) {
    throw Error(doing +
                ": the device ran out of memory; fewer or shorter prompts, a smaller population or "
                "--device cpu need less");
  }
}

std::vector<float> ToVector(const at::Tensor& tensor) {
  const at::Tensor values = tensor.to(at::kFloat).cpu().contiguous();
  return {values.const_data_ptr<float>(), values.const_data_ptr<float>() + values.numel()};
}

// Every layer frees and takes the same activations again. By default glibc gives such large blocks
// back to the kernel each time, and faulting the pages in again shows in a profile.
void KeepFreedMemory() {
#ifdef __GLIBC__
  mallopt(M_MMAP_THRESHOLD, 1 << 30);
  mallopt(M_TRIM_THRESHOLD, 1 << 30);
#endif
}

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

void AddTo(std::vector<double>& total, const std::vector<double>& part) {
  for (size_t i = 0; i < total.size(); ++i) total[i] += part[i];
}

template <typename T>
void KeepLarger(std::vector<T>& total, const std::vector<T>& part) {
  for (size_t i = 0; i < total.size(); ++i) total[i] = std::max(total[i], part[i]);
}

void AddObservation(const LayerObservation& part, LayerObservation& total) {
  for (size_t pair = 0; pair < total.pairs.size(); ++pair) {
    for (size_t head = 0; head < total.pairs[pair].kv_heads.size(); ++head) {
      total.pairs[pair].kv_heads[head] += part.pairs[pair].kv_heads[head];
    }
    AddTo(total.pairs[pair].key_channel_error, part.pairs[pair].key_channel_error);
  }
  AddTo(total.key_channel_total, part.key_channel_total);
  AddTo(total.concentration_sum, part.concentration_sum);
  total.concentration_count += part.concentration_count;
  total.key_bias_norm = part.key_bias_norm;
  KeepLarger(total.key_channel_max, part.key_channel_max);
  KeepLarger(total.maxima.key, part.maxima.key);
  KeepLarger(total.maxima.value, part.maxima.value);
}

// What OpenMP would use: OMP_NUM_THREADS where it is set, otherwise the cores that this process may
// run on. Asked once, because every runner sets OpenMP's number.
int DefaultThreads() {
  static const int threads = omp_get_max_threads();
  return threads;
}

}  // namespace

HeadErrorSums& HeadErrorSums::operator+=(const HeadErrorSums& other) {
  k_error += other.k_error;
  k_total += other.k_total;
  k_ratio += other.k_ratio;
  k_count += other.k_count;
  v_error += other.v_error;
  v_total += other.v_total;
  v_ratio += other.v_ratio;
  v_count += other.v_count;
  o_error += other.o_error;
  o_total += other.o_total;
  o_ratio += other.o_ratio;
  o_count += other.o_count;
  a_error += other.a_error;
  a_count += other.a_count;
  return *this;
}

// The exact model on one prompt, kept because every generation of plans is compared with it. Logits
// are not kept: they are a vocabulary wide.
struct Reference {
  at::Tensor hidden;    // [tokens, hidden], after the final norm
  PromptLosses losses;  // against itself
};

struct ModelRunner::State {
  State(const Checkpoint& checkpoint, const at::TensorOptions& tensor_options,
        const RunnerOptions& runner_options, int thread_count)
      : options(runner_options),
        threads(tensor_options.device().is_cpu() ? thread_count : 1),
        decoder(checkpoint, tensor_options, runner_options.weights),
        walk(decoder, threads, MaxActivationBytes()) {}

  int64_t MaxActivationBytes() const {
    return options.max_activation_bytes > 0 ? options.max_activation_bytes
                                            : FreeMemory(decoder.options().device()) / 4;
  }

  PlanPass PassOf(const TokenIds& prompt) const {
    PlanPass pass{.sharing = options.sharing, .threads = threads};
    // The last exact position predicts exactly; the first decoded one is scored first.
    if (options.prefill == PrefillMode::kExact)
      pass.exact_queries = (static_cast<int64_t>(prompt.size()) - 1) / 2;
    return pass;
  }

  at::Tensor Begin(const TokenIds& prompt) const {
    return decoder.Embed(decoder.IdsOf(prompt)).unsqueeze(0);
  }

  // One walk of the exact model; end(prompt, hidden [1, tokens, hidden]) is called for every
  // prompt.
  void RunExact(std::span<const TokenIds> prompts, const PlanPass& pass,
                const std::function<void(size_t, at::Tensor)>& end) {
    const PlanTreeLayer exact = {{0, kExactPair}};
    const auto advance = [&](size_t, size_t layer, const at::Tensor& hidden) {
      return AdvancePlans(decoder, layer, exact, hidden, pass);
    };
    walk.Run(prompts, 1, {[&](size_t i) { return Begin(prompts[i]); }, advance, end}, nullptr);
  }

  // Makes sure that ReferenceOf knows these prompts.
  void LearnReferences(std::span<const TokenIds> prompts) {
    std::vector<TokenIds> unknown;
    for (const TokenIds& prompt : prompts) {
      if (references.try_emplace(prompt).second) unknown.push_back(prompt);
    }
    try {
      RunExact(unknown, {.threads = threads}, [&](size_t i, const at::Tensor& hidden) {
        Reference& reference = references.at(unknown[i]);
        reference.hidden = decoder.FinalNorm(hidden.squeeze(0));
        reference.losses =
            ScoreHidden(decoder, hidden, reference.hidden, unknown[i], PassOf(unknown[i])).front();
      });
    } catch (...) {
      for (const TokenIds& prompt : unknown) references.erase(prompt);
      throw;
    }
  }

  const Reference& ReferenceOf(const TokenIds& prompt) const { return references.at(prompt); }

  RunnerOptions options;
  int threads;  // 1 on a GPU, whose operators are parallel by themselves
  Decoder decoder;
  LayerWalk walk;
  std::map<TokenIds, Reference> references;
};

ModelRunner::ModelRunner(const Checkpoint& checkpoint, const RunnerOptions& options) {
  const c10::InferenceMode no_gradients;
  const int threads = options.threads > 0 ? options.threads : DefaultThreads();
  at::set_num_threads(threads);
  omp_set_num_threads(threads);
  // Sums of float32 products must not be rounded to tf32: losses of 1e-7 are compared.
  at::globalContext().setAllowTF32CuBLAS(false);
  const at::Device device = ResolveDevice(options.device);
  const at::ScalarType type = ResolveType(options.data_type, device);
  WithTorchErrors("loading the model " + checkpoint.directory().string(), [&] {
    state_ = std::make_unique<State>(checkpoint, at::TensorOptions(type).device(device), options,
                                     threads);
  });
  // Streamed layers come and go as large blocks, which have to go back.
  if (!streams_weights()) KeepFreedMemory();
}

ModelRunner::~ModelRunner() = default;

const ModelConfig& ModelRunner::config() const { return state_->decoder.config(); }

std::string ModelRunner::device_name() const { return state_->decoder.options().device().str(); }

std::string ModelRunner::data_type_name() const {
  return TypeName(c10::typeMetaToScalarType(state_->decoder.options().dtype()));
}

bool ModelRunner::streams_weights() const { return state_->decoder.streams(); }

void ModelRunner::SetCacheMaxima(std::vector<LayerMaxima> maxima) {
  state_->decoder.SetCacheMaxima(std::move(maxima));
}

std::vector<LayerObservation> ModelRunner::ObserveAttention(std::span<const TokenIds> prompts,
                                                            std::span<const PrecisionPair> pairs,
                                                            const ProgressCallback& progress) {
  std::vector<LayerObservation> nothing;
  for (const LayerConfig& layer : config().layers) {
    nothing.push_back(EmptyObservation(layer, config().query_heads, pairs.size()));
  }
  std::vector<std::vector<LayerObservation>> by_prompt(prompts.size(), nothing);
  WithTorchErrors("measuring sensitivity", [&] {
    const auto begin = [&](size_t i) {
      return state_->decoder.Embed(state_->decoder.IdsOf(prompts[i]));
    };
    const auto advance = [&](size_t i, size_t layer, at::Tensor hidden) {
      const OperatorsOnOneThread same_sums;
      ObserveLayer(state_->decoder, layer, hidden, pairs, state_->PassOf(prompts[i]).exact_queries,
                   by_prompt[i][layer]);
      return hidden;
    };
    state_->walk.Run(prompts, 1, {begin, advance, [](size_t, const at::Tensor&) {}}, progress);
  });
  // Added up in the order of the prompts: whichever thread was first, the sums round the same way.
  std::vector<LayerObservation> total = nothing;
  for (const std::vector<LayerObservation>& of_prompt : by_prompt) {
    for (size_t layer = 0; layer < total.size(); ++layer)
      AddObservation(of_prompt[layer], total[layer]);
  }
  return total;
}

std::vector<std::vector<PromptLosses>> ModelRunner::ScorePlans(std::span<const PrecisionPlan> plans,
                                                               std::span<const TokenIds> prompts,
                                                               const ProgressCallback& progress) {
  std::vector<std::vector<PromptLosses>> losses(plans.size(),
                                                std::vector<PromptLosses>(prompts.size()));
  std::vector<PrecisionPlan> quantized;
  std::copy_if(plans.begin(), plans.end(), std::back_inserter(quantized),
               [](const PrecisionPlan& plan) { return !plan.is_exact(); });
  const PlanTree tree = quantized.empty()                              ? PlanTree{}
                        : state_->options.sharing < Sharing::kPrefixes ? BuildPlanChains(quantized)
                                                                       : BuildPlanTree(quantized);
  const auto add = [&](size_t p, std::span<const PromptLosses> of_leaf) {
    size_t next_quantized = 0;
    for (size_t i = 0; i < plans.size(); ++i) {
      losses[i][p] = plans[i].is_exact() ? state_->ReferenceOf(prompts[p]).losses
                                         : of_leaf[tree.leaf_of_plan[next_quantized++]];
    }
  };
  WithTorchErrors("scoring plans", [&] {
    state_->LearnReferences(prompts);
    if (quantized.empty()) {
      for (size_t p = 0; p < prompts.size(); ++p) add(p, {});
      if (progress) progress(static_cast<int64_t>(prompts.size()));
      return;
    }
    const PromptSteps steps{
        .begin = [&](size_t p) { return state_->Begin(prompts[p]); },
        .advance =
            [&](size_t p, size_t layer, const at::Tensor& hidden) {
              return AdvancePlans(state_->decoder, layer, tree.layers[layer], hidden,
                                  state_->PassOf(prompts[p]));
            },
        .end =
            [&](size_t p, const at::Tensor& hidden) {
              add(p, ScoreHidden(state_->decoder, hidden, state_->ReferenceOf(prompts[p]).hidden,
                                 prompts[p], state_->PassOf(prompts[p])));
            }};
    state_->walk.Run(prompts, tree.layers.back().size(), steps, progress);
  });
  return losses;
}

std::vector<ExactPass> ModelRunner::ExactPasses(std::span<const TokenIds> prompts) {
  std::vector<ExactPass> passes;
  WithTorchErrors("running the exact model", [&] {
    state_->LearnReferences(prompts);
    for (const TokenIds& prompt : prompts) {
      const Reference& reference = state_->ReferenceOf(prompt);
      const at::Tensor hidden = reference.hidden.cpu().contiguous();
      ExactPass pass{.hidden = std::vector<std::byte>(hidden.nbytes()),
                     .scored = static_cast<int64_t>(reference.losses.token_kl.size()),
                     .nll_sum = reference.losses.nll_sum,
                     .top1_matches = reference.losses.top1_matches};
      std::memcpy(pass.hidden.data(), hidden.const_data_ptr(), pass.hidden.size());
      passes.push_back(std::move(pass));
    }
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
    Reference reference;
    WithTorchErrors("restoring the exact model's pass",
                    [&] { reference.hidden = hidden.to(state_->decoder.options().device()); });
    reference.losses = {.token_kl = std::vector<float>(static_cast<size_t>(passes[i].scored)),
                        .nll_sum = passes[i].nll_sum,
                        .top1_matches = passes[i].top1_matches};
    state_->references.insert_or_assign(prompts[i], std::move(reference));
  }
}

double ModelRunner::NoiseFloor(std::span<const TokenIds> prompts) {
  std::vector<PromptLosses> losses(prompts.size());
  WithTorchErrors("measuring the noise floor", [&] {
    state_->LearnReferences(prompts);
    const PlanPass pass{.rounding_noise = true, .threads = state_->threads};
    state_->RunExact(prompts, pass, [&](size_t i, const at::Tensor& hidden) {
      losses[i] = ScoreHidden(state_->decoder, hidden, state_->ReferenceOf(prompts[i]).hidden,
                              prompts[i], state_->PassOf(prompts[i]))
                      .front();
    });
  });
  double sum = 0, tokens = 0;
  for (const PromptLosses& of_prompt : losses) {
    for (const float kl : of_prompt.token_kl) sum += static_cast<double>(kl);
    tokens += static_cast<double>(of_prompt.token_kl.size());
  }
  return tokens > 0 ? sum / tokens : 0;
}

std::vector<float> ModelRunner::Logits(const TokenIds& prompt, const PrecisionPlan& plan) {
  const c10::InferenceMode no_gradients;
  std::vector<float> logits;
  const PlanTree tree = BuildPlanTree(std::span(&plan, 1));
  const PromptSteps steps{
      .begin = [&](size_t) { return state_->Begin(prompt); },
      .advance =
          [&](size_t, size_t layer, const at::Tensor& hidden) {
            return AdvancePlans(state_->decoder, layer, tree.layers[layer], hidden,
                                state_->PassOf(prompt));
          },
      .end =
          [&](size_t, const at::Tensor& hidden) {
            logits = ToVector(state_->decoder.Logits(state_->decoder.FinalNorm(hidden.squeeze(0))));
          }};
  state_->walk.Run(std::span(&prompt, 1), 1, steps, nullptr);
  return logits;
}

std::vector<LayerStates> ModelRunner::ExactStates(const TokenIds& prompt) {
  const c10::InferenceMode no_gradients;
  std::vector<LayerStates> states(config().layers.size());
  const PromptSteps steps{
      .begin = [&](size_t) { return state_->decoder.Embed(state_->decoder.IdsOf(prompt)); },
      .advance =
          [&](size_t, size_t layer, at::Tensor hidden) {
            states[layer] = ObserveStates(state_->decoder, layer, hidden);
            return hidden;
          },
      .end = [](size_t, const at::Tensor&) {}};
  state_->walk.Run(std::span(&prompt, 1), 1, steps, nullptr);
  return states;
}

std::vector<float> ModelRunner::LogitsByDecoding(const TokenIds& prompt,
                                                 const PrecisionPlan& plan) {
  const c10::InferenceMode no_gradients;
  return ToVector(
      LogitsOfDecoding(state_->decoder, plan, prompt, state_->PassOf(prompt).exact_queries));
}

}  // namespace kvtune
