#include "lib/runner/layer_walk.h"

#include <algorithm>
#include <mutex>
#include <utility>
#include <vector>

#include "lib/kernels/parallel_loop.h"
#include "lib/runner/activation_store.h"

namespace kvtune {
namespace {

// Counts the steps of prompts through layers and reports a prompt whenever as many steps are done
// as there are layers.
class StepCounter {
 public:
  StepCounter(size_t layers, const MeasuredModel::OnProgress& progress)
      : layers_(layers), progress_(progress) {}

  // So many prompts are through one more layer.
  void Count(size_t prompts) {
    const std::lock_guard lock(mutex_);
    const size_t before = steps_ / layers_;
    steps_ += prompts;
    if (const size_t done = steps_ / layers_ - before; done > 0 && progress_)
      progress_(static_cast<int64_t>(done));
  }

 private:
  size_t layers_;
  size_t steps_ = 0;
  const MeasuredModel::OnProgress& progress_;
  std::mutex mutex_;
};

}  // namespace

int64_t LayerWalk::BytesOfRow() const {
  return decoder_.config().hidden_size *
         static_cast<int64_t>(decoder_.options().dtype().itemsize());
}

int64_t LayerWalk::MostRowsOfABatch() const {
  return max_activation_bytes_ / (2 * BytesOfRow() * std::ssize(decoder_.stages()));
}

// One batch per thread needs no barrier between operators. On a machine with other work, threads
// that wait for each other after every small operator lose most of their time. When there are so
// few batches (or so little memory) that more than half of the threads would be idle, the variants
// of one batch run in parallel instead.
int LayerWalk::BatchesAtATime(size_t batches, int64_t largest_bytes) const {
  // A batch holds the input and the output of a layer at the same time.
  const int64_t fitting = max_activation_bytes_ / std::max<int64_t>(1, 2 * largest_bytes);
  if (!decoder_.options().device().is_cpu()) {
    // The operators of a GPU are parallel by themselves. Of several GPUs each works on a batch.
    const int64_t stages = std::ssize(decoder_.stages());
    return static_cast<int>(
        std::max<int64_t>(1, std::min({stages, static_cast<int64_t>(batches), fitting})));
  }
  const int64_t workers =
      std::min({static_cast<int64_t>(threads_), static_cast<int64_t>(batches), fitting});
  return 2 * workers >= threads_ ? static_cast<int>(workers) : 1;
}

void LayerWalk::Run(std::span<const PromptBatch> batches, size_t variants, const BatchSteps& steps,
                    const MeasuredModel::OnProgress& progress) {
  if (batches.empty()) return;
  const size_t layers = decoder_.config().layers.size();
  std::vector<int64_t> bytes;  // of the hidden states of each batch
  for (const PromptBatch& batch : batches) {
    const size_t sequences = batch.prompts.size() * std::max<size_t>(variants, 1);
    bytes.push_back(static_cast<int64_t>(sequences) * batch.tokens * BytesOfRow());
  }
  const int64_t largest = std::ranges::max(bytes);
  const int workers = BatchesAtATime(batches.size(), largest);
  StepCounter counter(layers, progress);
  const auto step = [&](const PromptBatch& batch, size_t layer, at::Tensor hidden) {
    hidden = steps.advance(batch, layer, decoder_.BroughtTo(layer, std::move(hidden)));
    if (layer + 1 == layers) steps.end(batch, decoder_.BroughtHome(std::exchange(hidden, {})));
    counter.Count(batch.prompts.size());
    return hidden;
  };
  if (!decoder_.streams()) {
    ParallelLoop(workers, batches.size(), [&](size_t i) {
      const c10::InferenceMode no_gradients;  // thread-local, so each thread needs its own
      at::Tensor hidden = steps.begin(batches[i]);
      for (size_t layer = 0; layer < layers; ++layer)
        hidden = step(batches[i], layer, std::move(hidden));
    });
    return;
  }
  // Beside the batches that wait, each worker holds the input and the output of a layer.
  const int64_t in_work = 2 * largest * workers;
  ActivationStore waiting(bytes, std::max<int64_t>(0, max_activation_bytes_ - in_work));
  for (size_t layer = 0; layer < layers; ++layer) {
    stream_.Enter(layer);
    ParallelLoop(workers, batches.size(), [&](size_t i) {
      const c10::InferenceMode no_gradients;
      at::Tensor hidden =
          step(batches[i], layer, layer == 0 ? steps.begin(batches[i]) : waiting.Take(i));
      if (hidden.defined()) waiting.Put(i, std::move(hidden));
    });
  }
  stream_.Leave();
}

}  // namespace kvtune
