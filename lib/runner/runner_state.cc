#include "lib/runner/runner_state.h"

#include <malloc.h>
#include <omp.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>
#include <string>
#include <thread>

#include "lib/base/error.h"
#include "lib/base/log.h"
#include "lib/runner/device_memory.h"
#include "lib/runner/flash_attention.h"
#include "lib/runner/torch_device.h"
#include "lib/runner/torch_errors.h"

namespace kvtune {
namespace {

constexpr uint64_t kLargeModelBytes = uint64_t{4} << 30;

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
  }
  return at::kFloat;
}

// Says why scores will take long, where another build of the program would not.
void WarnWithoutKernels([[maybe_unused]] const at::Device& device) {
#if !defined(KVTUNE_CUDA_KERNELS)
  if (device.is_cuda()) {
    LogWarning(
        "this program was built without CUDA kernels, so it quantizes most formats on the CPU; a "
        "build by scripts/demo.sh --cuda has them");
  }
#endif
}

// Where layers may go beside `home`: the GPUs that follow it and then those before it, as many as
// are asked for, or all; on a CPU other parts of it, where they are asked for.
SplitChoice SplitChoiceOf(const ModelOptions& options, const at::Device& home) {
  SplitChoice split{.stages = options.split_layers};
  if (options.split_layers > 1 && options.weights == WeightMode::kStream) {
    throw Error(
        "choosing the devices: found --split-layers and --weights stream, expected one of them",
        ExitCode::kUsage);
  }
  const bool may_split = options.split_layers == 0 && options.weights == WeightMode::kAuto;
  if (options.split_layers <= 1 && !may_split) return split;
  if (home.is_cpu()) {
    split.further.assign(static_cast<size_t>(std::max(1, options.split_layers) - 1), home);
    return split;
  }
  const int count = DeviceCount();
  if (options.split_layers > count) {
    throw Error("choosing the devices: found " + std::to_string(count) +
                " GPUs, expected at least the " + std::to_string(options.split_layers) +
                " of --split-layers");
  }
  for (int i = 1; i < count; ++i) {
    const int index = (home.index() + i) % count;
    split.further.emplace_back(at::kCUDA, static_cast<at::DeviceIndex>(index));
  }
  return split;
}

// Returns the number of threads that OpenMP would use: OMP_NUM_THREADS when it is set, otherwise
// the number of cores that this process may run on. It is asked for only once, because every runner
// changes OpenMP's number.
int DefaultThreads() {
  static const int threads = omp_get_max_threads();
  return threads;
}

// Keeps freed memory in the process. Every layer frees and takes the same activations again; by
// default glibc gives such large blocks back to the kernel each time, and the cost of faulting the
// pages in again shows in a profile.
void KeepFreedMemory() {
#ifdef __GLIBC__
  mallopt(M_MMAP_THRESHOLD, 1 << 30);
  mallopt(M_TRIM_THRESHOLD, 1 << 30);
#endif
}

}  // namespace

RunnerState::RunnerState(const Checkpoint& checkpoint, const at::TensorOptions& tensor_options,
                         const ModelOptions& model_options, Sharing shared, int cpu_threads)
    : options(model_options),
      sharing(shared),
      threads(tensor_options.device().is_cpu() ? cpu_threads : 1),
      decoder(checkpoint, tensor_options, model_options.weights,
              SplitChoiceOf(model_options, tensor_options.device())),
      walk(decoder, threads, MaxActivationBytes()) {}

int64_t RunnerState::MaxActivationBytes() const {
  if (options.max_activation_bytes > 0) return static_cast<int64_t>(options.max_activation_bytes);
  int64_t free = std::numeric_limits<int64_t>::max();
  for (const at::Device& device : decoder.stages()) free = std::min(free, FreeMemory(device));
  return free / 4;
}

PlanPass RunnerState::PassOf(const TokenIds& prompt) const {
  PlanPass pass{.sharing = sharing, .threads = threads};
  // The last of the exact positions still predicts from the exact cache, so scoring begins at the
  // first decoded position.
  if (options.prefill == PrefillMode::kExact)
    pass.exact_queries = (static_cast<int64_t>(prompt.size()) - 1) / 2;
  return pass;
}

at::Tensor RunnerState::Begin(const TokenIds& prompt) const {
  return decoder.Embed(decoder.IdsOf(prompt)).unsqueeze(0);
}

void RunnerState::RunExact(std::span<const TokenIds> prompts, const PlanPass& pass,
                           const std::function<void(size_t, at::Tensor)>& end) {
  const PlanTreeLayer exact = {{0, kExactPair}};
  const auto advance = [&](size_t, size_t layer, const at::Tensor& hidden) {
    return AdvancePlans(decoder, layer, exact, hidden, pass);
  };
  walk.Run(prompts, 1, {[&](size_t i) { return Begin(prompts[i]); }, advance, end}, nullptr);
}

void RunnerState::LearnReferences(std::span<const TokenIds> prompts) {
  std::vector<TokenIds> unknown;
  for (const TokenIds& prompt : prompts) {
    if (references.try_emplace(prompt).second) unknown.push_back(prompt);
  }
  try {
    RunExact(unknown, {.threads = threads}, [&](size_t i, const at::Tensor& hidden) {
      Reference& reference = references.at(unknown[i]);
      reference.hidden = decoder.FinalNorm(hidden.squeeze(0));
      reference.score =
          ScoreHidden(decoder, hidden, reference.hidden, unknown[i], PassOf(unknown[i])).front();
      reference.score.exact_nll_sum = reference.score.nll_sum;
    });
    for (const TokenIds& prompt : unknown) RequireFinite(prompt);
  } catch (...) {
    // A prompt whose pass did not finish must not count as known the next time.
    for (const TokenIds& prompt : unknown) references.erase(prompt);
    throw;
  }
}

void RunnerState::RequireFinite(const TokenIds& prompt) {
  const double loss = ReferenceOf(prompt).score.nll_sum;
  if (std::isfinite(loss)) return;
  // The pass runs again to find the layer, because a look at every layer of every pass would cost
  // those that are sound.
  std::optional<size_t> broken;
  const PlanTreeLayer exact = {{0, kExactPair}};
  const auto advance = [&](size_t, size_t layer, const at::Tensor& hidden) {
    at::Tensor advanced = AdvancePlans(decoder, layer, exact, hidden, {.threads = threads});
    if (!broken && !at::isfinite(advanced).all().item<bool>()) broken = layer;
    return advanced;
  };
  walk.Run(std::span(&prompt, 1), 1,
           {[&](size_t) { return Begin(prompt); }, advance, [](size_t, const at::Tensor&) {}},
           nullptr);
  const std::string found =
      broken ? "layer " + std::to_string(*broken) + ": found NaN or infinity behind it"
             : "found logits that are NaN or infinite";
  throw Error("running the exact model: " + found +
              ", expected finite numbers: its weights or its config.json are not as they were "
              "trained");
}

std::vector<PromptScore> RunnerState::Score(const TokenIds& prompt,
                                            const at::Tensor& hidden) const {
  const Reference& reference = ReferenceOf(prompt);
  std::vector<PromptScore> scores =
      ScoreHidden(decoder, hidden, reference.hidden, prompt, PassOf(prompt));
  for (PromptScore& score : scores) score.exact_nll_sum = reference.score.nll_sum;
  return scores;
}

std::unique_ptr<RunnerState> LoadRunner(const Checkpoint& checkpoint, const ModelOptions& options,
                                        std::optional<at::ScalarType> type, Sharing sharing) {
  const c10::InferenceMode no_gradients;
  const int threads = options.threads > 0 ? options.threads : DefaultThreads();
  at::set_num_threads(threads);
  omp_set_num_threads(threads);
  // TF32 is switched off, because sums of float32 products must not be rounded to it: losses of
  // 1e-7 are compared.
  at::globalContext().setAllowTF32CuBLAS(false);
  const std::string doing = "loading the model " + checkpoint.directory().string();
  std::unique_ptr<RunnerState> state = WithTorchErrors(doing, [&] {
    const at::Device device = ResolveDevice(options.device);
    if (!type) WarnWithoutKernels(device);
    const at::ScalarType resolved = type.value_or(ResolveType(options.data_type, device));
    const at::TensorOptions tensor_options = at::TensorOptions(resolved).device(device);
    // The first call takes a second, in which the weights of a large model can be read.
    std::jthread first_call;
    if (checkpoint.weight_bytes() > kLargeModelBytes) {
      first_call = std::jthread([&config = checkpoint.config(), tensor_options] {
        CallCudnnFirst(tensor_options, config.query_heads, config.layers.front());
      });
    }
    return std::make_unique<RunnerState>(checkpoint, tensor_options, options, sharing, threads);
  });
  // Streamed layers come and go as large blocks, and these have to be given back to the system.
  if (!state->decoder.streams()) KeepFreedMemory();
  return state;
}

}  // namespace kvtune
