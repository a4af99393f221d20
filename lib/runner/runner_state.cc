#include "lib/runner/runner_state.h"

#include <malloc.h>
#include <omp.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>
#include <string>
#include <thread>
#include <utility>

#include "lib/base/error.h"
#include "lib/base/log.h"
#include "lib/runner/device_memory.h"
#include "lib/runner/flash_attention.h"
#include "lib/runner/rotary.h"
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

// Makes a first matrix product of about the size of a layer's, for which the library loads its
// kernels. A failure is left to a later call.
void MultiplyFirst(const at::TensorOptions& options, int64_t hidden_size) {
  try {
    const c10::InferenceMode no_gradients;
    constexpr int64_t kRows = 2048;
    at::linear(at::zeros({kRows, hidden_size}, options),
               at::zeros({hidden_size, hidden_size}, options));
  } catch (const std::exception&) {
  }
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
      walk(decoder, threads, MaxActivationBytes()),
      batch_rows(RowsInOnePiece(tensor_options.device())) {}

int64_t RunnerState::MaxActivationBytes() const {
  if (options.max_activation_bytes > 0) return static_cast<int64_t>(options.max_activation_bytes);
  int64_t free = std::numeric_limits<int64_t>::max();
  for (const at::Device& device : decoder.stages()) free = std::min(free, FreeMemory(device));
  return free / 4;
}

PlanPass RunnerState::PassOf(const TokenIds& prompt) const {
  PlanPass pass{.sharing = sharing, .threads = threads, .piece_rows = piece_rows};
  // The last of the exact positions still predicts from the exact cache, so scoring begins at the
  // first decoded position.
  if (options.prefill == PrefillMode::kExact)
    pass.exact_queries = (static_cast<int64_t>(prompt.size()) - 1) / 2;
  return pass;
}

at::Tensor RunnerState::Begin(std::span<const TokenIds> prompts, const PromptBatch& batch) const {
  TokenIds ids;
  for (const size_t i : batch.prompts) {
    const TokenIds& prompt = prompts[i];
    ids.insert(ids.end(), prompt.begin(), prompt.end());
    // Nobody reads what becomes of the padding, but it has to be tokens that the model knows.
    ids.insert(ids.end(), static_cast<size_t>(batch.tokens) - prompt.size(), prompt.back());
  }
  return decoder.Embed(decoder.IdsOf(ids)).unflatten(0, {std::ssize(batch.prompts), batch.tokens});
}

// All prompts of a batch take the way of the longest: they have one pass, and the rotary tables and
// attention kernels of its length.
std::vector<PromptBatch> RunnerState::BatchesOf(std::span<const TokenIds> prompts,
                                                size_t variants) const {
  const std::vector<RopeConfig>& ropes = decoder.config().ropes;
  std::vector<BatchedPrompt> batched;
  int64_t rows = 0;
  for (const TokenIds& prompt : prompts) {
    const int64_t tokens = std::ssize(prompt);
    const int64_t long_ropes = std::ranges::count_if(
        ropes, [&](const RopeConfig& rope) { return TurnsAsLongPrompt(rope, tokens); });
    batched.push_back(
        {.tokens = tokens,
         .kind = {PassOf(prompt).exact_queries, long_ropes, HasCudnnLength(tokens) ? tokens : 0}});
    rows += tokens * static_cast<int64_t>(variants);
  }
  int64_t most_rows = std::min(batch_rows, walk.MostRowsOfABatch());
  // Split layers are a pipeline, which only several batches fill. With four to a stage, the first
  // and the last of them leave a stage idle for a fifth of the time at most.
  if (const int64_t stages = std::ssize(decoder.stages()); stages > 1)
    most_rows = std::min(most_rows, rows / (4 * stages));
  return FormBatches(batched, variants, most_rows);
}

void RunnerState::RunTogether(std::span<const TokenIds> prompts, size_t variants,
                              const BatchAdvance& advance, const BatchEnd& end,
                              const MeasuredModel::OnProgress& progress) {
  const BatchSteps steps{.begin = [&](const PromptBatch& batch) { return Begin(prompts, batch); },
                         .advance = advance,
                         .end = end};
  // An attempt that fails has reported prompts, which the next one must not report again.
  int64_t finished = 0, reported = 0;
  const auto report = [&](int64_t count) {
    finished += count;
    if (finished > reported && progress) progress(finished - std::exchange(reported, finished));
  };
  for (;;) {
    const std::vector<PromptBatch> batches = BatchesOf(prompts, variants);
    finished = 0;
    const auto tokens_of_several = [](const PromptBatch& batch) {
      return batch.prompts.size() > 1 ? std::ssize(batch.prompts) * batch.tokens : 0;
    };
    try {
      return walk.Run(batches, variants, steps, report);
    } catch (const c10::OutOfMemoryError&) {
      if (std::ranges::all_of(batches, [&](const auto& b) { return tokens_of_several(b) == 0; }))
        throw;
    }
    const PromptBatch& largest = *std::ranges::max_element(batches, {}, tokens_of_several);
    batch_rows = tokens_of_several(largest) * static_cast<int64_t>(variants) / 2;
    for (const at::Device& device : decoder.stages()) ReturnUnusedMemory(device);
    LogInfo("the device has no room for " + std::to_string(largest.prompts.size()) +
            " prompts at a time; taking " + std::to_string(largest.prompts.size() / 2));
  }
}

void RunnerState::RunExact(std::span<const TokenIds> prompts, PlanPass pass, const BatchEnd& end) {
  pass.threads = threads;
  pass.piece_rows = piece_rows;
  const PlanTreeLayer exact = {{0, kExactPair}};
  const auto advance = [&](const PromptBatch& batch, size_t layer, const at::Tensor& hidden) {
    return AdvancePlans(decoder, layer, RepeatedLayer(exact, 1, batch.prompts.size()), hidden,
                        pass);
  };
  RunTogether(prompts, 1, advance, end, nullptr);
}

void RunnerState::LearnReferences(std::span<const TokenIds> prompts) {
  std::vector<TokenIds> unknown;
  for (const TokenIds& prompt : prompts) {
    if (references.try_emplace(prompt).second) unknown.push_back(prompt);
  }
  try {
    RunExact(unknown, {}, [&](const PromptBatch& batch, const at::Tensor& hidden) {
      for (size_t i = 0; i < batch.prompts.size(); ++i) {
        const TokenIds& prompt = unknown[batch.prompts[i]];
        const at::Tensor own = hidden.select(0, static_cast<int64_t>(i));
        references.at(prompt).hidden = decoder.FinalNorm(own.narrow(0, 0, std::ssize(prompt)));
      }
      const std::vector<std::vector<PromptScore>> scores = Score(unknown, batch, hidden);
      for (size_t i = 0; i < batch.prompts.size(); ++i) {
        PromptScore& score = references.at(unknown[batch.prompts[i]]).score;
        score = scores[i].front();
        score.exact_nll_sum = score.nll_sum;
      }
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
  const auto advance = [&](const PromptBatch&, size_t layer, const at::Tensor& hidden) {
    at::Tensor advanced = AdvancePlans(decoder, layer, exact, hidden, {.threads = threads});
    if (!broken && !at::isfinite(advanced).all().item<bool>()) broken = layer;
    return advanced;
  };
  RunTogether(
      std::span(&prompt, 1), 1, advance, [](const PromptBatch&, const at::Tensor&) {}, nullptr);
  const std::string found =
      broken ? "layer " + std::to_string(*broken) + ": found NaN or infinity behind it"
             : "found logits that are NaN or infinite";
  throw Error("running the exact model: " + found +
              ", expected finite numbers: its weights or its config.json are not as they were "
              "trained");
}

std::vector<std::vector<PromptScore>> RunnerState::Score(std::span<const TokenIds> prompts,
                                                         const PromptBatch& batch,
                                                         const at::Tensor& hidden) const {
  const int64_t variants = hidden.size(0) / std::ssize(batch.prompts);
  std::vector<ScoredPrompt> scored;
  for (const size_t i : batch.prompts) {
    const TokenIds& prompt = prompts[i];
    scored.push_back({.hidden = hidden.narrow(0, std::ssize(scored) * variants, variants)
                                    .narrow(1, 0, std::ssize(prompt)),
                      .reference = ReferenceOf(prompt).hidden,
                      .ids = prompt,
                      .first_position = PassOf(prompt).exact_queries});
  }
  std::vector<std::vector<PromptScore>> scores = ScoreHidden(decoder, scored, sharing, threads);
  for (size_t i = 0; i < scores.size(); ++i) {
    const double exact = ReferenceOf(prompts[batch.prompts[i]]).score.nll_sum;
    for (PromptScore& score : scores[i]) score.exact_nll_sum = exact;
  }
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
    // The first calls of libraries take a second, in which the weights of a large model can be
    // read.
    std::jthread first_calls;
    if (device.is_cuda() && checkpoint.weight_bytes() > kLargeModelBytes) {
      first_calls = std::jthread([&config = checkpoint.config(), tensor_options] {
        CallCudnnFirst(tensor_options, config.query_heads, config.layers.front());
        MultiplyFirst(tensor_options, config.hidden_size);
      });
    }
    return std::make_unique<RunnerState>(checkpoint, tensor_options, options, sharing, threads);
  });
  // Streamed layers come and go as large blocks, and these have to be given back to the system.
  if (!state->decoder.streams()) KeepFreedMemory();
  return state;
}

}  // namespace kvtune
